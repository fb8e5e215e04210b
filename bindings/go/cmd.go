package microvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Cmd is a program of a Vm as os/exec has those of the host. One Cmd runs once.
//
// Streams are carried by goroutines of the Cmd, which end with the program. The context that
// Command was given kills the program when it is done.
type Cmd struct {
	Args    []string      // Args[0] is looked up in the PATH of the environment
	Env     []string      // "NAME=value", added to the image's; "NAME": without it
	Dir     string        // empty: the image's WORKDIR
	User    string        // "name", "uid", "name:group", "uid:gid"; empty: the image's USER
	ID      string        // empty: a number nobody had before
	Timeout time.Duration // of the program, kept by the guest; 0: none

	// Reattach has streams go on by themselves where the Vm is suspended under the program.
	Reattach bool

	Stdin  io.Reader // nil: /dev/null. One that is blocked in Read when the program ends is not waited for
	Stdout io.Writer // nil: dropped
	Stderr io.Writer // nil: dropped; the same as Stdout: in the order in which the guest saw it

	Exec       *Exec       // once started
	ExitStatus *ExitStatus // once Wait has returned, where the program's end is known

	vm         *Vm
	ctx        context.Context
	stdinPiped bool
	pipes      []*pipe
	done       chan struct{} // closed when all output was read and the end is known
	readError  error         // of the program's streams
	writeError error         // of Stdout or Stderr

	mutex      sync.Mutex
	stdinError error // of Stdin
}

// Command prepares a program; nothing happens before Run, Start, Output or CombinedOutput.
func (vm *Vm) Command(ctx context.Context, name string, args ...string) *Cmd {
	return &Cmd{Args: append([]string{name}, args...), vm: vm, ctx: ctx}
}

func (c *Cmd) String() string { return strings.Join(c.Args, " ") }

// Run starts the program and waits for its end. The error is an *ExitError when it did not end
// with 0.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Start returns when the guest has started the program, or could not: then Wait says why.
func (c *Cmd) Start() error {
	if c.done != nil {
		return c.misused("was started before")
	}
	exec, err := c.vm.Exec(c.ctx, &ExecOptions{
		Argv: c.Args, Env: c.Env, Cwd: c.Dir, User: c.User, ID: c.ID, Timeout: c.Timeout,
		StdinOpen: c.Stdin != nil || c.stdinPiped, Reattach: c.Reattach,
	})
	if err != nil {
		c.endPipes()
		return err
	}
	c.Exec, c.done = exec, make(chan struct{})
	go c.readOutput()
	if c.Stdin != nil {
		go c.feedStdin()
	}
	if len(c.pipes) > 0 && c.ctx.Done() != nil {
		go c.dropOutputWhenDone()
	}
	return nil
}

// Wait waits for the end of a started program and of its output. What StdoutPipe and StderrPipe
// hold by then can still be read.
func (c *Cmd) Wait() error {
	if c.done == nil {
		return c.misused("was not started")
	}
	<-c.done
	switch {
	case c.readError != nil:
		return c.readError
	case !c.ExitStatus.Success():
		return &ExitError{ExitStatus: *c.ExitStatus}
	case c.writeError != nil:
		return c.writeError
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.stdinError
}

// Output runs the program and returns its stdout. What it wrote to stderr, unless that is taken by
// Stderr, is in the *ExitError.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, c.misused("has its Stdout set")
	}
	var out bytes.Buffer
	c.Stdout = &out
	var kept *firstBytes
	if c.Stderr == nil {
		kept = &firstBytes{}
		c.Stderr = kept
	}
	err := c.Run()
	var exit *ExitError
	if kept != nil && errors.As(err, &exit) {
		exit.Stderr = kept.data
	}
	return out.Bytes(), err
}

// CombinedOutput runs the program and returns what it put out, both streams in their order.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, c.misused("has its Stdout or Stderr set")
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// StdinPipe gives what is written to the program's stdin, from Start on; closing it is its end.
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
	if c.Stdin != nil || c.stdinPiped || c.done != nil {
		return nil, c.misused("has its Stdin set, or was started")
	}
	c.stdinPiped = true
	return stdinPipe{c}, nil
}

// StdoutPipe gives what is read from the program's stdout. It holds 64 KiB; a program that puts out
// more waits for who reads, and with it its stderr.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) { return c.outputPipe(&c.Stdout) }

// StderrPipe is the same for stderr.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) { return c.outputPipe(&c.Stderr) }

func (c *Cmd) outputPipe(stream *io.Writer) (io.ReadCloser, error) {
	if *stream != nil || c.done != nil {
		return nil, c.misused("has that stream set, or was started")
	}
	p := newPipe()
	c.pipes = append(c.pipes, p)
	*stream = p
	return p, nil
}

func (c *Cmd) misused(how string) error {
	return &Error{Code: ErrInvalidArgument, Message: fmt.Sprintf("command %q: it %s", c.String(), how)}
}

// readOutput ends with the program: one goroutine for both streams, so that their order is kept.
func (c *Cmd) readOutput() {
	defer close(c.done)
	defer c.endPipes()
	defer c.Exec.Close() // kills it where its streams failed
	for {
		output, err := c.Exec.Read(c.ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			c.readError = err
			return
		}
		c.hand(output)
	}
	status, err := c.Exec.Wait(c.ctx)
	if err != nil {
		c.readError = err
		return
	}
	c.ExitStatus = &status
}

// hand gives a piece to who takes the stream; after an error nobody does.
func (c *Cmd) hand(output *ExecOutput) {
	stream := &c.Stdout
	if output.Stream == Stderr {
		stream = &c.Stderr
	}
	if *stream == nil {
		return
	}
	if _, err := (*stream).Write(output.Data); err != nil {
		*stream = nil
		if c.writeError == nil {
			c.writeError = err
		}
	}
}

// feedStdin gives up where the program does not read any more.
func (c *Cmd) feedStdin() {
	buffer := make([]byte, 32<<10)
	for {
		n, err := c.Stdin.Read(buffer)
		if n > 0 && c.Exec.WriteStdin(c.ctx, buffer[:n]) != nil {
			return
		}
		if err != nil {
			c.endStdin(err)
			return
		}
	}
}

func (c *Cmd) endStdin(err error) {
	if err != io.EOF {
		c.mutex.Lock()
		c.stdinError = err
		c.mutex.Unlock()
	}
	_ = c.Exec.CloseStdin(c.ctx) // fails where the program is gone, which Wait tells
}

// dropOutputWhenDone lets readOutput meet the context's end also where nobody reads a pipe.
func (c *Cmd) dropOutputWhenDone() {
	select {
	case <-c.ctx.Done():
		c.endPipes()
	case <-c.done:
	}
}

func (c *Cmd) endPipes() {
	for _, p := range c.pipes {
		p.end()
	}
}

// ExitError is what a program that did not end with 0 comes to.
type ExitError struct {
	ExitStatus
	Stderr []byte // of Output, at most 64 KiB: its beginning
}

func (e *ExitError) Error() string { return e.ExitStatus.String() }

// String is "exit status 3", "signal: killed", and so on.
func (s ExitStatus) String() string {
	switch {
	case s.Message != "":
		return s.Message
	case s.TimedOut:
		return "timed out"
	case s.Signal != 0:
		return "signal: " + s.Signal.String()
	}
	return fmt.Sprintf("exit status %d", s.Code)
}

// Success is true for a program that ended with 0.
func (s ExitStatus) Success() bool { return s == ExitStatus{} }

type stdinPipe struct{ cmd *Cmd }

func (p stdinPipe) Write(data []byte) (int, error) {
	if p.cmd.Exec == nil {
		return 0, p.cmd.misused("was not started")
	}
	if err := p.cmd.Exec.WriteStdin(p.cmd.ctx, data); err != nil {
		return 0, err
	}
	return len(data), nil
}

func (p stdinPipe) Close() error {
	if p.cmd.Exec == nil {
		return p.cmd.misused("was not started")
	}
	return p.cmd.Exec.CloseStdin(p.cmd.ctx)
}

type firstBytes struct{ data []byte }

func (f *firstBytes) Write(from []byte) (int, error) {
	f.data = appendUpTo(f.data, from, pipeBytes)
	return len(from), nil
}
