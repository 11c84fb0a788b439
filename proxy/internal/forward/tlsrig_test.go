package forward

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"testing"
	"time"
)

// overTLS has worlds serve TLS and their clients speak it.
var overTLS bool

// url is the world's own for http or ws.
func (w *world) url(scheme string) string {
	if w.tls != nil {
		scheme += "s"
	}
	return scheme + "://" + w.addr
}

// testCertificate is one for h and 127.0.0.1, of server and client.
var testCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"h"},
		NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func serverTLS() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{testCertificate()}, NextProtos: []string{"http/1.1"},
		ClientAuth: tls.RequestClientCert, DynamicRecordSizingDisabled: true,
	}
}

func clientTLS() *tls.Config {
	roots := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(testCertificate().Certificate[0])
	if err != nil {
		panic(err)
	}
	roots.AddCert(leaf)
	return &tls.Config{RootCAs: roots, ServerName: "h"}
}

// TestSecure runs over TLS what must not know the difference.
func TestSecure(t *testing.T) {
	overTLS = true
	defer func() { overTLS = false }()
	for _, tt := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"KeepsAlive", TestServer_ForwardsAndKeepsAlive},
		{"Pipelining", TestServer_Pipelining},
		{"ByteByByte", TestServer_ByteByByte},
		{"UnixSocket", TestServer_UnixSocket},
		{"NoRoute", TestServer_NoRoute},
		{"Refused", TestFraming_Refused},
		{"Trace", TestFraming_TraceIsRefusedAndKeepsTheConnection},
		{"UnwantedBody", TestFraming_UnwantedBodyIsReadOver},
		{"LateBadChunk", TestFraming_LateBadChunk},
		{"Trailers", TestFraming_TrailersStayTrailers},
		{"OneRequestForOne", TestFraming_OneRequestForOne},
		{"BadAnswers", TestFraming_BadAnswers},
		{"ResponseBodies", TestFraming_ResponseBodies},
		{"UntilClose", TestFraming_UntilClose},
		{"HTTP10", TestFraming_HTTP10Client},
		{"Head", TestFraming_HeadHasNoBody},
		{"UntrustedPeer", TestHeaders_UntrustedPeer},
		{"DeadPort", TestRetry_DeadPortThenAnother},
		{"PostOnce", TestRetry_PostIsNeverExecutedTwice},
		{"StaleConnection", TestRetry_StaleConnectionIsNoticed},
		{"LargeBodies", TestStream_LargeBodiesArriveWhole},
		{"ExpectContinue", TestStream_ExpectContinue},
		{"EarlyHints", TestStream_EarlyHints},
		{"EachPiece", TestStream_EachPieceAtOnce},
		{"BothWays", TestStream_BothWays},
		{"LastPiece", TestUpload_AnswerToTheLastPiece},
		{"EarlyAnswer", TestStream_EarlyAnswerWhileUploading},
		{"BodyTooLarge", TestStream_BodyTooLarge},
		{"AppDies", TestStream_AppDiesInItsAnswer},
		{"ClientGone", TestStream_ClientGone},
		{"ClientGoneWhileWaiting", TestStream_ClientGoneWhileWaiting},
		{"AppIsSilent", TestStream_AppIsSilent},
		{"NothingIsRead", TestStream_NothingIsReadBeforeAnInstanceIsThere},
		{"FailuresOfTheWaiter", TestStream_FailuresOfTheWaiter},
		{"SlowClients", TestLimits_SlowClients},
		{"ClientThatDoesNotRead", TestLimits_ClientThatDoesNotRead},
		{"Shutdown", TestServer_ShutdownFinishesWhatIsOpen},
		{"ShutdownDeadline", TestServer_ShutdownDeadline},
		{"ShutdownClosesWebSockets", TestServer_ShutdownClosesWebSockets},
		{"RecycleFinishes", TestServer_RecycleFinishesOpenRequests},
		{"LateVerdict", TestConn_LateVerdictIsNotTheNextRequests},
		{"AnswerIsNotLost", TestServer_AnswerIsNotLostToMoreInput},
		{"AFault", TestServer_AFaultEndsOneConnection},
		{"TunnelBytes", TestTunnel_BytesAfterTheHandshake},
		{"TunnelHalfClose", TestTunnel_HalfClose},
		{"TunnelOtherAnswer", TestTunnel_OtherAnswer},
		{"TunnelDrainCloses", TestTunnel_DrainCloses},
		{"TunnelDrainWaits", TestTunnel_DrainWaits},
		{"TunnelInstanceStops", TestTunnel_InstanceStopsWhileDraining},
		{"TunnelFrameBoundary", TestTunnel_CloseOnAFrameBoundary},
		{"TunnelNoTimeLimits", TestTunnel_HasNoTimeLimits},
		{"TunnelBusy", TestTunnel_CloseOfABusyConnection},
		{"TunnelWokenLate", TestTunnel_WokenLate},
		{"TunnelClientDoesNotRead", TestTunnel_CloseOfAClientThatDoesNotRead},
	} {
		t.Run(tt.name, tt.run)
	}
}
