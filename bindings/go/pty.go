package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"io"
	"runtime"
	"syscall"
	"unsafe"
)

// PtySize is in characters.
type PtySize struct {
	Rows    uint16
	Columns uint16
}

// PtyWriting says who may write to a terminal.
type PtyWriting int32

const (
	PtyExclusive PtyWriting = C.MVM_PTY_EXCLUSIVE // one client writes at a time
	PtyShared    PtyWriting = C.MVM_PTY_SHARED    // all that attached to write may
)

// PtyOptions of Vm.Pty; nil: the zero value.
type PtyOptions struct {
	Argv    []string // as in ExecOptions; empty: the user's login shell, else /bin/sh
	Env     []string // as in ExecOptions
	Cwd     string   // as in ExecOptions
	User    string   // as in ExecOptions
	Size    PtySize  // zeroes: 24 rows of 80 columns
	Term    string   // the variable TERM; empty: "xterm-256color"
	ID      string   // as in ExecOptions
	Writing PtyWriting
}

func (o *PtyOptions) given(memory *arena) *C.mvm_pty_options {
	given := &C.mvm_pty_options{
		struct_size: C.sizeof_mvm_pty_options,
		writing:     C.mvm_pty_writing(o.Writing),
		cwd:         memory.option("directory", o.Cwd),
		user:        memory.option("user", o.User),
		term:        memory.option("TERM", o.Term),
		id:          memory.option("id", o.ID),
		rows:        C.uint32_t(o.Size.Rows),
		columns:     C.uint32_t(o.Size.Columns),
	}
	given.argv, given.argv_count = memory.texts("argument", o.Argv)
	given.env, given.env_count = memory.texts("environment", o.Env)
	return given
}

// PtyAttachOptions of Vm.AttachPty; nil: the zero value.
type PtyAttachOptions struct {
	ReadOnly bool    // false: it writes
	TakeOver bool    // from the client that writes now, which then only watches
	Size     PtySize // the terminal's new size, only where it writes; zeroes: as it is
	// Pty.Position of an earlier handle: the output from there on, and not again what it has read.
	// nil: up to 256 KiB of recent output, then what comes.
	Position *uint64
}

func (o *PtyAttachOptions) given() *C.mvm_pty_attach_options {
	if o == nil {
		return nil
	}
	given := &C.mvm_pty_attach_options{
		struct_size: C.sizeof_mvm_pty_attach_options,
		read_only:   boolOf(o.ReadOnly),
		take_over:   boolOf(o.TakeOver),
		rows:        C.uint32_t(o.Size.Rows),
		columns:     C.uint32_t(o.Size.Columns),
	}
	if o.Position != nil {
		given.has_position, given.position = 1, C.uint64_t(*o.Position)
	}
	return given
}

// PtyInfo is what is known of a terminal.
type PtyInfo struct {
	ID      string
	Command string // the program and its arguments, at most 255 bytes
	PID     int    // in the guest; 0 when it has ended
	Size    PtySize
	Clients uint32
	Writers uint32
	Writing PtyWriting
	Ended   *ExitStatus // until someone learnt it, for the last 32 that ended; else nil
}

func ptyInfoOf(from *C.mvm_pty_info) PtyInfo {
	return PtyInfo{
		ID:      C.GoString(from.id),
		Command: C.GoString(from.command),
		PID:     int(from.pid),
		Size:    PtySize{Rows: uint16(from.rows), Columns: uint16(from.columns)},
		Clients: uint32(from.clients),
		Writers: uint32(from.writers),
		Writing: PtyWriting(from.writing),
		Ended:   endedOf(from.ended),
	}
}

// PtyOutput is a piece of a terminal's output.
type PtyOutput struct {
	Data []byte // bytes as the program put them out; characters may be split
	// Output that this handle has missed just before Data: it had not read for so long that the
	// terminal went on without it.
	LostBytes uint64
}

// Pty is one client of a program on a pseudo terminal. The session belongs to the Vm: closing the
// Pty, or losing its connection to a suspend, only detaches, and Vm.AttachPty comes back to the
// running program and to the recent output of its screen. One goroutine at a time reads, another
// may write, any may do the rest.
type Pty struct {
	handle *C.mvm_pty
	vm     *Vm
	id     string
	pid    int
	in     *waiter
	out    *waiter
}

// Pty starts a program on a pseudo terminal, and writes to it. At most 32 at a time in one Vm. A
// program that could not be started is a Pty whose Wait says why. Errors: ErrAlreadyExists (the
// id), ErrBusy (too many), ErrVmGone.
func (vm *Vm) Pty(ctx context.Context, options *PtyOptions) (*Pty, error) {
	if options == nil {
		options = &PtyOptions{}
	}
	memory := &arena{}
	given := options.given(memory)
	var out *C.mvm_pty
	err := call(ctx, vm, "pty", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_pty(vm.handle, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	return newPty(vm, out)
}

// AttachPty gives another Pty of a running terminal, at most 8 at a time; of one that has ended
// since, too: the end of its output and its exit status. Errors: ErrNotFound, ErrBusy (another
// client writes; or too many), ErrVmGone.
func (vm *Vm) AttachPty(ctx context.Context, id string, options *PtyAttachOptions) (*Pty, error) {
	memory := &arena{}
	cID, given := memory.text("id", id), options.given()
	var out *C.mvm_pty
	err := call(ctx, vm, "attach to a pty", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_attach_pty(vm.handle, cID, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	return newPty(vm, out)
}

func newPty(vm *Vm, handle *C.mvm_pty) (*Pty, error) {
	p := &Pty{handle: handle, vm: vm}
	fd := func(fd *C.int32_t, err **C.mvm_error) C.mvm_status { return C.mvm_pty_fd(handle, fd, err) }
	p.in, p.out = newStream("pty", syscall.EPOLLIN, fd), newStream("pty", syscall.EPOLLOUT, fd)
	closeForgotten(p)
	var err error
	p.id, err = textOf(p, func(out **C.char, err **C.mvm_error) C.mvm_status {
		return C.mvm_pty_id(handle, out, err)
	})
	var pid C.uint32_t
	if err == nil {
		err = quick(p, func(err **C.mvm_error) C.mvm_status { return C.mvm_pty_pid(handle, &pid, err) })
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	p.pid = int(pid)
	return p, nil
}

// ID is the session's.
func (p *Pty) ID() string { return p.id }

// PID is in the guest; 0 when the program did not start, or had ended when this Pty attached.
func (p *Pty) PID() int { return p.pid }

// Writer says whether this Pty writes; false as soon as a Read met a take-over.
func (p *Pty) Writer() bool {
	var out C.mvm_bool
	_ = quick(p, func(err **C.mvm_error) C.mvm_status { return C.mvm_pty_writer(p.handle, &out, err) })
	return out != 0
}

// Position is of the next byte that Read returns.
func (p *Pty) Position() uint64 {
	var out C.uint64_t
	_ = quick(p, func(err **C.mvm_error) C.mvm_status { return C.mvm_pty_position(p.handle, &out, err) })
	return uint64(out)
}

// Read waits for the next piece of output. io.EOF: the program has ended and all its output was
// read. The program waits for a Pty that is 128 KiB behind, but for 2 s at most: after that the Pty
// loses what it is too slow for and reads of that in LostBytes. ErrVmGone: the connection ended;
// attach again if the Vm lives.
func (p *Pty) Read(ctx context.Context) (*PtyOutput, error) {
	var out *C.mvm_pty_output
	err := p.in.take(ctx, p, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_pty_try_read(p.handle, &out, err)
	})
	if err != nil {
		return nil, err
	}
	if out == nil {
		return nil, io.EOF
	}
	defer release(out)
	return &PtyOutput{goBytes(out.data, out.size), uint64(out.lost_bytes)}, nil
}

// Write gives keys, as a terminal sends them: "\r" is Enter, "\x03" Ctrl-C. Waits while the program
// does not read. ErrBusy: this Pty does not (any more) write.
func (p *Pty) Write(ctx context.Context, data []byte) error {
	return p.out.writeAll(ctx, p, data, func(data []byte, taken *C.size_t, err **C.mvm_error) C.mvm_status {
		return C.mvm_pty_try_write(p.handle, unsafe.Pointer(&data[0]), C.size_t(len(data)), taken, err)
	})
}

// Stream is the terminal as the io package has streams, for io.Copy and the like; what was lost is
// passed over. It is used like the Pty, and ends with the context.
func (p *Pty) Stream(ctx context.Context) io.ReadWriter { return &ptyStream{pty: p, ctx: ctx} }

type ptyStream struct {
	pty  *Pty
	ctx  context.Context
	rest []byte
}

func (s *ptyStream) Read(to []byte) (int, error) {
	for len(s.rest) == 0 && len(to) > 0 {
		output, err := s.pty.Read(s.ctx)
		if err != nil {
			return 0, err
		}
		s.rest = output.Data
	}
	n := copy(to, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *ptyStream) Write(data []byte) (int, error) {
	if err := s.pty.Write(s.ctx, data); err != nil {
		return 0, err
	}
	return len(data), nil
}

// Resize tells the program, by SIGWINCH; only a writer's counts. ErrBusy: as of Write.
func (p *Pty) Resize(ctx context.Context, size PtySize) error {
	return call(ctx, p, "resize", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_pty_resize(p.handle, C.uint32_t(size.Rows), C.uint32_t(size.Columns), limits, err)
	})
}

// Signal sends one to the foreground process group of the terminal. Errors: ErrInvalidArgument (no
// such signal); ErrBusy, as of Write.
func (p *Pty) Signal(ctx context.Context, signal syscall.Signal) error {
	return call(ctx, p, "signal", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_pty_signal(p.handle, C.int32_t(signal), limits, err)
	})
}

// Detach closes this client's connection; further calls fail. The program goes on.
func (p *Pty) Detach() error {
	return quick(p, func(err **C.mvm_error) C.mvm_status { return C.mvm_pty_detach(p.handle, err) })
}

// Wait discards output that was not read and waits for the program's end.
func (p *Pty) Wait(ctx context.Context) (ExitStatus, error) {
	var out *C.mvm_exit_status
	err := p.in.take(ctx, p, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_pty_try_wait(p.handle, &out, err)
	})
	if err != nil {
		return ExitStatus{}, err
	}
	defer release(out)
	return exitStatusOf(out), nil
}

// Close detaches. It wakes a Read that waits.
func (p *Pty) Close() error {
	if p.handle == nil { // was never opened
		return nil
	}
	runtime.SetFinalizer(p, nil)
	p.in.close()
	p.out.close()
	C.mvm_pty_free(p.handle)
	return nil
}

// Ptys lists the terminals, the oldest first.
func (vm *Vm) Ptys(ctx context.Context) ([]PtyInfo, error) {
	var out *C.mvm_pty_list
	err := call(ctx, vm, "ptys", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_ptys(vm.handle, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return listOf(out.items, out.count, ptyInfoOf), nil
}

// ClosePty hangs a terminal up: SIGHUP, after 5 s SIGKILL; returns when the program has ended.
// ErrNotFound.
func (vm *Vm) ClosePty(ctx context.Context, id string) error {
	memory := &arena{}
	cID := memory.text("id", id)
	return call(ctx, vm, "close a pty", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_close_pty(vm.handle, cID, limits, err)
	})
}
