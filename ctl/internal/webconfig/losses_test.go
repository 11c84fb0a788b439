package webconfig

import (
	"maps"
	"slices"
	"strings"
	"testing"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
)

func authenticationOf(children string) string {
	return "<security><authentication>" + children + "</authentication></security>"
}

const encryptedData = `<EncryptedData Type="http://www.w3.org/2001/04/xmlenc#Element"><CipherData/></EncryptedData>`

// lossCases are a file for each thing that would weaken or break the site, with
// what is said of it.
var lossCases = []struct{ name, loss, text, want string }{
	{"windows", "windowsAuthentication", wrapped(authenticationOf(`<windowsAuthentication enabled="true"/>`) + plainApp), "AddNegotiate"},
	{"basic", "basicAuthentication", wrapped(authenticationOf(`<basicAuthentication enabled="True"/>`) + plainApp), "authentication handler"},
	{"digest", "digestAuthentication", wrapped(authenticationOf(`<digestAuthentication enabled="true"/>`) + plainApp), "authenticate its users"},
	{"no anonymous", "anonymousAuthentication", wrapped(authenticationOf(`<anonymousAuthentication enabled="false"/>`) + plainApp), "RequireAuthorization"},
	{"addresses", "ipSecurity", wrapped(`<security><ipSecurity allowUnlisted="false"><add ipAddress="127.0.0.1" allowed="true"/></ipSecurity></security>` + plainApp), "firewall"},
	{"an address", "ipSecurity", wrapped(`<security><ipSecurity><add ipAddress="10.0.0.1"/></ipSecurity></security>` + plainApp), "firewall"},
	{"rates", "dynamicIpSecurity", wrapped(`<security><dynamicIpSecurity><denyByConcurrentRequests enabled="true"/></dynamicIpSecurity></security>` + plainApp), "rate limiter"},
	{"who may", "authorization", wrapped(`<security><authorization><remove users="*" roles="" verbs=""/><add accessType="Allow" roles="Admins"/></authorization></security>` + plainApp), "[Authorize]"},
	{"who may not", "authorization", wrapped(`<security><authorization><add accessType="Deny" users="?"/></authorization></security>` + plainApp), "[Authorize]"},
	{"who may, old", "authorization", `<configuration><system.web><authorization><deny users="?"/></authorization></system.web><system.webServer>` + plainApp + `</system.webServer></configuration>`, "[Authorize]"},
	{"a certificate", "access", wrapped(`<security><access sslFlags="Ssl, SslNegotiateCert, SslRequireCert"/></security>` + plainApp), "--client-auth require"},
	{"filters", "requestFiltering", wrapped(`<security><requestFiltering><hiddenSegments><add segment="private"/></hiddenSegments></requestFiltering></security>` + plainApp), "hiddenSegments"},
	{"verbs", "requestFiltering", wrapped(`<security><requestFiltering><verbs allowUnlisted="false"><add verb="GET" allowed="true"/></verbs></requestFiltering></security>` + plainApp), "verbs"},
	{"a move", "httpRedirect", wrapped(`<httpRedirect enabled="true" destination="https://example.org"/>` + plainApp), "https://example.org"},
	{"a rule", "rewrite", wrapped(`<rewrite><rules><rule name="Old"><match url="a"/><action type="Rewrite" url="b"/></rule></rules></rewrite>` + plainApp), "AddIISUrlRewrite"},
	{"an outbound rule", "rewrite", wrapped(`<rewrite><outboundRules><rule name="Out"/></outboundRules></rewrite>` + plainApp), `outbound rule "Out"`},
	{"an encrypted section", "encrypted", `<configuration><connectionStrings configProtectionProvider="RsaProtectedConfigurationProvider">` + encryptedData + `</connectionStrings><system.webServer>` + plainApp + `</system.webServer></configuration>`, "aspnet_regiis -pd"},
	{"an encrypted value", "encrypted", app("", "<environmentVariables>"+variable1("A", "[enc:AesProvider:x:enc]")+variable1("B", "1")+"</environmentVariables>"), "env_files"},
	{"encrypted variables", "encrypted", app("", `<environmentVariables configProtectionProvider="x">`+encryptedData+"</environmentVariables>"), "<environmentVariables> is encrypted"},
	{"an old variable", "unresolved", app(`stdoutLogEnabled="true" stdoutLogFile="%LOGS%\x"`, ""), "%LOGS% is a variable of the old machine"},
	{"a variable of itself", "unresolved", app("", "<environmentVariables>"+variable1("A", "%A%;x")+"</environmentVariables>"), "%A% is a variable"},
	{"variables in a ring", "unresolved", app("", "<environmentVariables>"+variable1("A", "%B%")+variable1("B", "%C%")+variable1("C", "%a%")+"</environmentVariables>"), "%a% is a variable"},
	{"an old program", "unresolved", started(`%TOOLS%\serve.exe`, ""), "%TOOLS% is a variable"},
	{"a token", "tokens", app("", "<environmentVariables>"+variable1("A", "x#{Secret}#")+"</environmentVariables>"), "#{Secret}#"},
	{"a token of bars", "tokens", app("", "<environmentVariables>"+variable1("A", "Password=__Db_Password__;")+"</environmentVariables>"), "__Db_Password__"},
	{"a token in a limit", "tokens", wrapped(`<security><requestFiltering><requestLimits maxAllowedContentLength="#{Max}"/></requestFiltering></security>` + plainApp), "#{Max}"},
	{"another path", "location", `<configuration><location path="up"><system.webServer><staticContent/><security><requestFiltering/></security></system.webServer></location><system.webServer>` + plainApp + `</system.webServer></configuration>`,
		`<location path="up"> sets staticContent, requestFiltering for that path`},
	{"an app below", "location", `<configuration><location path="api"><system.webServer>` + plainApp + `</system.webServer></location><system.webServer>` + plainApp + `</system.webServer></configuration>`, "import it with --path"},
	{"another path's people", "windowsAuthentication", `<configuration><location path="in"><system.webServer>` + authenticationOf(`<windowsAuthentication enabled="true"/>`) + `</system.webServer></location><system.webServer>` + plainApp + `</system.webServer></configuration>`, "<windowsAuthentication> of in is on"},
	{"a transform", "xdt", `<configuration xmlns:xdt="http://schemas.microsoft.com/XML-Document-Transform"><system.webServer><aspNetCore processPath="dotnet" arguments="App.dll" xdt:Transform="Replace"/></system.webServer></configuration>`, "xdt:Transform: this is a transform"},
	{"a source outside", "configSource", wrapped(`<rewrite configSource="..\rules.config"/>` + plainApp), "only a file in this folder can be one"},
	{"a token in sslFlags", "tokens", wrapped(`<security><access sslFlags="#{SslFlags}#"/></security>` + plainApp), "sslFlags holds #{SslFlags}#"},
	{"a token in a switch", "tokens", wrapped(authenticationOf(`<anonymousAuthentication enabled="#{Anonymous}"/>`) + plainApp), "enabled holds #{Anonymous}"},
	{"an encrypted part of another path", "encrypted", `<configuration><location path="in"><system.webServer><security><ipSecurity configProtectionProvider="x">` + encryptedData + `</ipSecurity></security></system.webServer></location><system.webServer>` + plainApp + `</system.webServer></configuration>`, "<ipSecurity> is encrypted"},
	{"a deep source that is gone", "configSource", wrapped(authenticationOf(`<windowsAuthentication configSource="windows.config"/>`) + plainApp), "it cannot be read"},
	{"a source that is gone", "configSource", wrapped(`<rewrite><rules configSource="rules.config"/></rewrite>` + plainApp), "it cannot be read"},
}

func TestRead_LossesAreErrorsUntilAccepted(t *testing.T) {
	seen := map[string]bool{}
	for _, tt := range lossCases {
		t.Run(tt.name, func(t *testing.T) {
			f := wantFault(t, refused(t, source(tt.text, published())), manifest.Error, tt.want)
			if !strings.HasSuffix(f.Message, "--accept-loss="+tt.loss) {
				t.Errorf("%q does not say how to go without it", f.Message)
			}
			_, others := Read(source(tt.text, published(), slices.DeleteFunc(slices.Clone(losses), func(l string) bool { return l == tt.loss })...))
			wantFault(t, others, manifest.Error, tt.want)
			_, faults := imported(t, source(tt.text, published(), tt.loss))
			wantFault(t, faults, manifest.Warning, tt.want)
		})
		seen[tt.loss] = true
	}
	for _, l := range losses {
		if !seen[l] && !strings.Contains(strings.ToLower(l), "clientcertificatemapping") {
			t.Errorf("no case is of the loss %s", l)
		}
	}
}

func TestRead_AnEncryptedValueIsNeverCarriedOn(t *testing.T) {
	text := app("", "<environmentVariables>"+variable1("A", "[enc:AesProvider:x:enc]")+variable1("B", "1")+"</environmentVariables>")
	spec, _ := imported(t, source(text, published(), "encrypted"))
	if env := spec.GetEnv(); len(env) != 1 || env["B"] != "1" {
		t.Errorf("env %q", env)
	}
}

func TestRead_WhatWeakensNothing(t *testing.T) {
	for _, section := range []string{
		authenticationOf(`<windowsAuthentication enabled="false"/><anonymousAuthentication enabled="true"/>`),
		`<security><authorization><clear/><add accessType="Allow" users="*"/></authorization></security>`,
		`<security><ipSecurity allowUnlisted="true"><add ipAddress="127.0.0.1" allowed="true"/></ipSecurity></security>`,
		`<security><access sslFlags="None"/></security>`,
		`<httpRedirect enabled="false"/>`,
		`<rewrite><rules><clear/><rule name="off" enabled="false"/></rules></rewrite>`,
		`<handlers><remove name="aspNetCore"/><add name="aspNetCore" path="*" verb="*" modules="AspNetCoreModule"/></handlers>`,
		`<httpProtocol><customHeaders><remove name="X-Powered-By"/></customHeaders></httpProtocol>`,
		`<webSocket enabled="true"/>`,
	} {
		if spec, faults := imported(t, source(wrapped(section+plainApp), published())); len(faults) > 0 || len(spec.GetEnv()) > 0 {
			t.Errorf("%s: %v %q", section, faults, spec.GetEnv())
		}
	}
}

func TestRead_WhatHasNoMeaningIsAWarning(t *testing.T) {
	for section, want := range map[string]string{
		`<httpErrors errorMode="Custom"/>`:                                                                                   "UseStatusCodePages",
		`<staticContent><mimeMap fileExtension=".x" mimeType="y"/></staticContent>`:                                          "UseStaticFiles",
		`<httpProtocol><customHeaders><add name="X-A" value="b"/><add name="X-B" value="c"/></customHeaders></httpProtocol>`: "let the app set X-A, X-B",
		`<handlers><add name="Static" path="*.css" modules="StaticFileModule"/></handlers>`:                                  "<handlers> has no meaning here",
		`<modules runAllManagedModulesForAllRequests="true"/>`:                                                               "<modules> has no meaning here",
		`<somethingNew/>`: "<somethingNew> has no meaning here: take it out",
		`<security><requestFiltering removeServerHeader="true"><requestLimits maxUrl="5" maxQueryString="6"/></requestFiltering></security>`: "maxUrl, maxQueryString of <requestLimits>",
		`<security><requestFiltering><fileExtensions><remove fileExtension=".config"/></fileExtensions></requestFiltering></security>`:       "fileExtensions of <requestFiltering>",
		`<security><access sslFlags="SslNegotiateCert"/></security>`:                                                                         "--client-auth request",
		`<applicationInitialization><add initializationPage="/a"/><add initializationPage="/b"/></applicationInitialization>`:                `"/b" is not asked for`,
	} {
		_, faults := imported(t, source(wrapped(section+plainApp), published()))
		wantFault(t, faults, manifest.Warning, want)
	}
	for _, section := range []string{"<appSettings/>", "<connectionStrings/>", "<system.web><machineKey/></system.web>", "<system.web><httpRuntime/></system.web>", "<system.net/>"} {
		_, faults := imported(t, source("<configuration>"+section+"<system.webServer>"+plainApp+"</system.webServer></configuration>", published()))
		if len(faults) != 1 {
			t.Errorf("%s: %v", section, faults)
		}
	}
}

func TestRead_SectionsThatAreTakenOver(t *testing.T) {
	for section, want := range map[string]string{
		`<security><requestFiltering><requestLimits maxAllowedContentLength="104857600"/></requestFiltering></security>`:  "max_body: 100MiB\n",
		`<security><requestFiltering><requestLimits maxAllowedContentLength="4294967295"/></requestFiltering></security>`: "max_body: 4294967295\n",
		`<security><requestFiltering><requestLimits maxAllowedContentLength="0"/></requestFiltering></security>`:          "max_body: 1\n",
		`<webSocket enabled="False"/>`:                  "env:\n  ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED: \"false\"\n",
		`<security><access sslFlags="Ssl"/></security>`: "https: only\n",
		`<applicationInitialization doAppInitAfterRestart="true"><add initializationPage="warm?x=1"/></applicationInitialization>`: "warmup: /warm?x=1\n",
	} {
		spec, _ := imported(t, source(wrapped(section+plainApp), published()))
		if got := strings.ReplaceAll(specYAML(t, spec), `'false'`, `"false"`); !strings.Contains(got, want) {
			t.Errorf("%s:\n%s\nwant %s", section, got, want)
		}
	}
	for _, n := range []string{"x", "-1", "4294967296"} {
		text := wrapped(`<security><requestFiltering><requestLimits maxAllowedContentLength="` + n + `"/></requestFiltering></security>` + plainApp)
		wantFault(t, refused(t, source(text, published())), manifest.Error, "is not a number of bytes")
	}
}

func TestRead_ConfigSourceIsRead(t *testing.T) {
	files := published()
	maps.Copy(files, folderOf("conf/app.config", "\ufeff"+plainApp, "conf/rules.config", "<rules>\n<rule name='Old'/>\n</rules>", "bad.config", "<rules>\n<rule></rules>", "other.config", "<x/>",
		"again.config", `<rules configSource="conf\rules.config"/>`))
	spec, faults := imported(t, source(wrapped(`<aspNetCore configSource="conf\app.config"/>`), files))
	if got := strings.Join(spec.GetCommand(), " "); got != "dotnet ./App.dll" || len(faults) != 0 {
		t.Errorf("command %s, faults %v", got, faults)
	}
	rules := func(file string) manifest.Faults {
		src := source(wrapped(`<rewrite><rules configSource="`+file+`"/></rewrite>`+plainApp), files)
		src.Name = "site/web.config"
		return refused(t, src)
	}
	wantFault(t, rules(`.\conf\rules.config`), manifest.Error, `site/conf/rules.config:2:1: rewrite rule "Old" does not run here`)
	wantFault(t, rules("bad.config"), manifest.Error, "site/bad.config:2:7: not XML")
	wantFault(t, rules("other.config"), manifest.Error, "it holds <x>")
	wantFault(t, rules("again.config"), manifest.Error, "configSource in a file that is one")
	wantFault(t, rules(`C:\rules.config`), manifest.Error, "only a file in this folder can be one")
}

func rule(conditions, action string) string {
	return wrapped(`<rewrite><rules><rule name="r" stopProcessing="true"><match url="(.*)"/>` + conditions + action + `</rule></rules></rewrite>` + plainApp)
}

func TestRead_RedirectToHTTPS(t *testing.T) {
	const toHTTPS = `<action type="Redirect" url="https://{HTTP_HOST}/{R:1}" redirectType="Permanent"/>`
	const off = `<add input="{HTTPS}" pattern="^OFF$"/>`
	for name, tt := range map[string]struct{ text, warning string }{
		"plain":                 {rule("<conditions>"+off+"</conditions>", toHTTPS), `rewrite rule "r" is the route's https: redirect now`},
		"the whole URI":         {rule(`<conditions><add input="{HTTPS}" pattern="off" ignoreCase="true"/></conditions>`, `<action type="Redirect" url="https://{SERVER_NAME}{REQUEST_URI}"/>`), "308"},
		"by the port":           {rule(`<conditions><add input="{SERVER_PORT_SECURE}" pattern="^0$"/></conditions>`, toHTTPS), "308"},
		"not on":                {rule(`<conditions><add input="{HTTPS}" pattern="on" negate="true"/></conditions>`, toHTTPS), "308"},
		"but for some hosts":    {rule(`<conditions>`+off+`<add input="{HTTP_HOST}" pattern="^localhost" negate="true"/></conditions>`, toHTTPS), "{HTTP_HOST} not ^localhost"},
		"but for a certificate": {rule(`<conditions>`+off+`<add input="{REQUEST_URI}" pattern="^/\.well-known/" negate="true"/></conditions>`, toHTTPS), "308"},
	} {
		spec, faults := imported(t, source(tt.text, published()))
		if got := spec.GetRoutes()[0].GetHttps(); got != roostv1.HttpsPolicy_HTTPS_POLICY_REDIRECT {
			t.Errorf("%s: https %v", name, got)
		}
		wantFault(t, faults, manifest.Warning, tt.warning)
	}
	toOwn := source(rule("<conditions>"+off+"</conditions>", `<action type="Redirect" url="https://WWW.example.org/{R:1}"/>`), published())
	toOwn.Host = "www.example.org"
	imported(t, toOwn)
	for name, text := range map[string]string{
		"some paths":     strings.Replace(rule("<conditions>"+off+"</conditions>", toHTTPS), "(.*)", "^login", 1),
		"another host":   rule("<conditions>"+off+"</conditions>", `<action type="Redirect" url="https://www.example.org/{R:1}"/>`),
		"no condition":   rule("", toHTTPS),
		"when on":        rule(`<conditions><add input="{HTTPS}" pattern="on"/></conditions>`, toHTTPS),
		"from addresses": rule(`<conditions>`+off+`<add input="{REMOTE_ADDR}" pattern="^10\."/></conditions>`, toHTTPS),
		"or":             rule(`<conditions logicalGrouping="MatchAny">`+off+`<add input="{HTTP_HOST}" pattern="x"/></conditions>`, toHTTPS),
		"a rewrite":      rule("<conditions>"+off+"</conditions>", `<action type="Rewrite" url="https://{HTTP_HOST}/{R:1}"/>`),
	} {
		if f := wantFault(t, refused(t, source(text, published())), manifest.Error, `rewrite rule "r" does not run here`); !strings.HasSuffix(f.Message, "=rewrite") {
			t.Errorf("%s: %v", name, f)
		}
	}
}

func TestRead_TLSOnlyAndARedirectIsARedirect(t *testing.T) {
	redirect := `<rewrite><rules><rule name="r"><match url=".*"/><conditions><add input="{HTTPS}" pattern="off"/></conditions>` +
		`<action type="Redirect" url="https://{HTTP_HOST}{REQUEST_URI}"/></rule></rules></rewrite>`
	only := `<security><access sslFlags="Ssl"/></security>`
	for _, sections := range []string{redirect + only, only + redirect} {
		spec, _ := imported(t, source(wrapped(sections+plainApp), published()))
		if got := spec.GetRoutes()[0].GetHttps(); got != roostv1.HttpsPolicy_HTTPS_POLICY_REDIRECT {
			t.Errorf("https %v", got)
		}
	}
}

func TestCheckLosses(t *testing.T) {
	if err := CheckLosses(append(slices.Clone(losses), "sslFlags")); err != nil {
		t.Error(err)
	}
	if err := CheckLosses([]string{"rewrites"}); err == nil || !strings.Contains(err.Error(), `did you mean "rewrite"?`) {
		t.Errorf("rewrites: %v", err)
	}
	if err := CheckLosses([]string{""}); err == nil {
		t.Error("an empty name is a loss")
	}
}

func TestRead_WhatASourceHoldsCountsAtAnyDepth(t *testing.T) {
	files := published()
	files["windows.config"] = folderOf("", `<windowsAuthentication enabled="true"/>`)[""]
	files["ip.config"] = folderOf("", `<ipSecurity allowUnlisted="false"/>`)[""]
	text := `<configuration><location path="in"><system.webServer><security><ipSecurity configSource="ip.config"/></security></system.webServer></location><system.webServer>` +
		authenticationOf(`<windowsAuthentication configSource="windows.config"/>`) + plainApp + `</system.webServer></configuration>`
	faults := refused(t, source(text, files))
	wantFault(t, faults, manifest.Error, "<windowsAuthentication> is on")
	wantFault(t, faults, manifest.Error, "<ipSecurity> of in lets only some addresses in")
}

func TestRead_SourcesDoNotGoRound(t *testing.T) {
	files := published()
	files["ring.config"] = folderOf("", `<rewrite><rewrite configSource="ring.config"/></rewrite>`)[""]
	faults := refused(t, source(wrapped(`<rewrite configSource="ring.config"/>`+plainApp), files))
	wantFault(t, faults, manifest.Error, "configSource in a file that is one")
}

func TestRead_SecurityThatNobodyCanTellIsRefused(t *testing.T) {
	for section, want := range map[string]string{
		`<access sslFlags="104"/>`:                                            `sslFlags "104" has "104", which is none of None, Ssl`,
		`<access sslFlags="Ssl, SslRequireCerts"/>`:                           `"SslRequireCerts", which is none of`,
		`<ipSecurity allowUnlisted="no"/>`:                                    `allowUnlisted "no" is neither true nor false`,
		`<authentication><basicAuthentication enabled="1"/></authentication>`: `enabled "1" is neither true nor false`,
	} {
		wantFault(t, refused(t, source(wrapped("<security>"+section+"</security>"+plainApp), published(), losses...)), manifest.Error, want)
	}
}
