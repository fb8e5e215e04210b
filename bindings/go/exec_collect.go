package microvm

import (
	"context"
	"io"
)

// CollectOptions of Vm.ExecCollect; nil: the zero value.
type CollectOptions struct {
	MaxBytes int    // of each stream; what is more is read and dropped; 0: 1 MiB
	Input    []byte // what stdin is given, then the end; nil: as ExecOptions.StdinOpen says
}

// ExecResult is what a program came to.
type ExecResult struct {
	Status ExitStatus
	Out    []byte
	Err    []byte
}

const defaultCollectBytes = 1 << 20

// ExecCollect runs a program to its end and collects what it puts out. When the context ends it the
// program is killed.
func (vm *Vm) ExecCollect(ctx context.Context, options *ExecOptions, collect *CollectOptions) (*ExecResult, error) {
	given := ExecOptions{}
	if options != nil {
		given = *options
	}
	if collect == nil {
		collect = &CollectOptions{}
	}
	given.StdinOpen = given.StdinOpen || collect.Input != nil
	exec, err := vm.Exec(ctx, &given)
	if err != nil {
		return nil, err
	}
	defer exec.Close()
	if given.StdinOpen {
		stop := exec.feed(ctx, collect.Input)
		defer stop()
	}
	return exec.collect(ctx, collect.MaxBytes)
}

// feed gives the input beside what reads the output: each may wait for the other. What the program
// does not read it does not want.
func (e *Exec) feed(ctx context.Context, input []byte) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if e.WriteStdin(ctx, input) == nil {
			_ = e.CloseStdin(ctx)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func (e *Exec) collect(ctx context.Context, maxBytes int) (*ExecResult, error) {
	if maxBytes < 0 {
		return nil, &Error{Code: ErrInvalidArgument, Message: "collect: MaxBytes is negative"}
	}
	if maxBytes == 0 {
		maxBytes = defaultCollectBytes
	}
	result := &ExecResult{}
	for {
		output, err := e.Read(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		stream := &result.Out
		if output.Stream == Stderr {
			stream = &result.Err
		}
		*stream = appendUpTo(*stream, output.Data, maxBytes)
	}
	status, err := e.Wait(ctx)
	result.Status = status
	return result, err
}

func appendUpTo(to, from []byte, most int) []byte {
	if room := most - len(to); len(from) > room {
		from = from[:room]
	}
	return append(to, from...)
}
