package microvm

import (
	"io"
	"sync"
)

// What a pipe of the kernel's holds.
const pipeBytes = 64 << 10

// pipe is what StdoutPipe and StderrPipe read from: it holds as much as a pipe of the kernel's, so
// that a program's streams can be read one after the other as those of os/exec.
type pipe struct {
	mutex   sync.Mutex
	changed sync.Cond
	data    []byte
	ended   bool // nothing more comes; what is written is dropped
	closed  bool // by who reads
}

func newPipe() *pipe {
	p := &pipe{}
	p.changed.L = &p.mutex
	return p
}

func (p *pipe) Read(to []byte) (int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if len(to) == 0 {
		return 0, nil
	}
	for len(p.data) == 0 && !p.ended && !p.closed {
		p.changed.Wait()
	}
	switch {
	case p.closed:
		return 0, io.ErrClosedPipe
	case len(p.data) == 0:
		return 0, io.EOF
	}
	n := copy(to, p.data)
	p.data = p.data[n:]
	p.changed.Broadcast()
	return n, nil
}

// Write waits while the pipe is full. What nobody will read any more is dropped, as the program
// goes on.
func (p *pipe) Write(from []byte) (int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	written := 0
	for written < len(from) && !p.closed && !p.ended {
		room := pipeBytes - len(p.data)
		if room <= 0 {
			p.changed.Wait()
			continue
		}
		if room > len(from)-written {
			room = len(from) - written
		}
		p.data = append(p.data, from[written:written+room]...)
		written += room
		p.changed.Broadcast()
	}
	return len(from), nil
}

func (p *pipe) end() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.ended = true
	p.changed.Broadcast()
}

func (p *pipe) Close() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.closed, p.data = true, nil
	p.changed.Broadcast()
	return nil
}
