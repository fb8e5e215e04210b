package microvm

import (
	"bytes"
	"io"
	"testing"
	"time"
)

func TestPipeHoldsWhatAKernelPipeHolds(t *testing.T) {
	p := newPipe()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 3*pipeBytes/16)
	if n, err := p.Write(sent[:pipeBytes]); n != pipeBytes || err != nil {
		t.Fatal(n, err)
	}
	written := make(chan struct{})
	go func() {
		_, _ = p.Write(sent[pipeBytes:])
		p.end()
		close(written)
	}()
	select {
	case <-written:
		t.Fatal("a full pipe took more")
	case <-time.After(20 * time.Millisecond):
	}
	if got, err := io.ReadAll(p); !bytes.Equal(got, sent) || err != nil {
		t.Fatal(len(got), err)
	}
	<-written
}

func TestPipeThatNobodyReadsDropsWhatComes(t *testing.T) {
	p := newPipe()
	done := make(chan struct{})
	go func() {
		_, _ = p.Write(make([]byte, 2*pipeBytes))
		close(done)
	}()
	time.Sleep(10 * time.Millisecond)
	p.Close()
	<-done
	if n, err := p.Read(make([]byte, 1)); n != 0 || err != io.ErrClosedPipe {
		t.Fatal(n, err)
	}
}

func TestPipeThatEndedGivesTheRest(t *testing.T) {
	p := newPipe()
	_, _ = p.Write([]byte("rest"))
	p.end()
	_, _ = p.Write(make([]byte, 2*pipeBytes)) // is dropped, and does not wait
	if got, err := io.ReadAll(p); string(got) != "rest" || err != nil {
		t.Fatal(string(got), err)
	}
}
