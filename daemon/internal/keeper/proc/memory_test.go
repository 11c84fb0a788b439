package proc

import (
	"os"
	"testing"
)

func TestSumLines(t *testing.T) {
	const text = "Name:\tVmRSS: 9 kB x\nVmPeak:\t 100 kB\nVmRSS:\t  2048 kB\nRssAnon:\t 7 kB\nVmSwap:\t 1024 kB\nThreads:\t3\n"
	if n, err := sumLines([]byte(text), "VmRSS:", "VmSwap:"); n != 3<<20 || err != nil {
		t.Errorf("%d, %v, want 3 MiB", n, err)
	}
	if n, err := sumLines([]byte("State:\tZ\n"), "VmRSS:"); n != 0 || err != nil {
		t.Errorf("of a dead one: %d, %v", n, err)
	}
	if _, err := sumLines([]byte("VmRSS: x kB\n"), "VmRSS:"); err == nil {
		t.Error("no error for what is no number")
	}
}

func TestMemory_OfThisProcess(t *testing.T) {
	resident, err := Resident(os.Getpid())
	if err != nil || resident < 1<<20 {
		t.Fatalf("%d bytes are resident, %v", resident, err)
	}
	share, err := Share(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// The file of sizes is approximate: the kernel counts pages per CPU.
	if share < 1<<20 || share > resident+resident/2 {
		t.Errorf("its share is %d of %d bytes", share, resident)
	}
	if _, err := Resident(1 << 30); err == nil {
		t.Error("a process that is not there has memory")
	}
}
