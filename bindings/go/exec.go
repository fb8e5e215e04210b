package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"io"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// ExecOptions of Vm.Exec and ExecCollect.
type ExecOptions struct {
	Argv []string // Argv[0] is looked up in the PATH of the environment
	// "NAME=value", added to (and winning over) the image's; "NAME": without it. The last of a name
	// counts.
	Env       []string
	Cwd       string        // empty: the image's WORKDIR
	User      string        // "name", "uid", "name:group", "uid:gid"; empty: the image's USER
	Timeout   time.Duration // 0: none; then the whole process group is killed
	StdinOpen bool          // false: stdin is /dev/null
	ID        string        // at most 63 letters, digits, ".", "_", "-"; empty: a number nobody had before
	// Closing the Exec leaves the program running, and it is never slowed for want of a reader.
	Detached bool
	// The Exec attaches again by itself where its Vm was suspended under it; see Exec.
	Reattach bool
}

func (o *ExecOptions) given(memory *arena) *C.mvm_exec_options {
	timeout := milliseconds(o.Timeout)
	if timeout < 0 || timeout > 1<<32-1 {
		memory.fail("timeout of a program: from 0 to 49 days")
	}
	given := &C.mvm_exec_options{
		struct_size: C.sizeof_mvm_exec_options,
		timeout_ms:  C.uint32_t(timeout),
		cwd:         memory.option("directory", o.Cwd),
		user:        memory.option("user", o.User),
		id:          memory.option("id", o.ID),
		stdin_open:  boolOf(o.StdinOpen),
		detached:    boolOf(o.Detached),
		reattach:    boolOf(o.Reattach),
	}
	given.argv, given.argv_count = memory.texts("argument", o.Argv)
	given.env, given.env_count = memory.texts("environment", o.Env)
	return given
}

// ExecAttachOptions of Vm.AttachExec; nil: the zero value.
type ExecAttachOptions struct {
	ReadOnly bool // false: it writes stdin, one client at a time
	TakeOver bool // from the client that writes now, which then only reads
	// Exec.Position of an earlier handle: the output from there on, and not again what it has read.
	// nil: what is kept of it, then what comes.
	Position *uint64
	Reattach bool // as in ExecOptions
}

func (o *ExecAttachOptions) given() *C.mvm_exec_attach_options {
	if o == nil {
		return nil
	}
	given := &C.mvm_exec_attach_options{
		struct_size: C.sizeof_mvm_exec_attach_options,
		read_only:   boolOf(o.ReadOnly),
		take_over:   boolOf(o.TakeOver),
		reattach:    boolOf(o.Reattach),
	}
	if o.Position != nil {
		given.has_position, given.position = 1, C.uint64_t(*o.Position)
	}
	return given
}

// ExitStatus is how a program ended.
type ExitStatus struct {
	Code     int            // exit code; 127 not found, 126 not executable, as a shell says
	Signal   syscall.Signal // that ended it, or 0
	TimedOut bool           // its Timeout passed
	Message  string         // why the program could not be started, else empty
}

func exitStatusOf(from *C.mvm_exit_status) ExitStatus {
	return ExitStatus{int(from.code), syscall.Signal(from.signal), from.timed_out != 0, C.GoString(from.message)}
}

func endedOf(from *C.mvm_exit_status) *ExitStatus {
	if from == nil {
		return nil
	}
	status := exitStatusOf(from)
	return &status
}

// ExecInfo is what is known of a program.
type ExecInfo struct {
	ID          string
	Command     string // the program and its arguments, at most 255 bytes
	PID         int    // in the guest; 0 when it has ended
	Clients     uint32 // attached, or waiting for its end
	Written     bool   // one of them writes its stdin
	Detached    bool
	OutputBytes uint64      // since its start, both streams
	Ended       *ExitStatus // until someone learnt it, for the last 256 that ended; else nil
}

func execInfoOf(from *C.mvm_exec_info) ExecInfo {
	return ExecInfo{
		ID:          C.GoString(from.id),
		Command:     C.GoString(from.command),
		PID:         int(from.pid),
		Clients:     uint32(from.clients),
		Written:     from.written != 0,
		Detached:    from.detached != 0,
		OutputBytes: uint64(from.output_bytes),
		Ended:       endedOf(from.ended),
	}
}

// ExecStream is one of a program's outputs.
type ExecStream int32

const (
	Stdout ExecStream = C.MVM_EXEC_STDOUT
	Stderr ExecStream = C.MVM_EXEC_STDERR
)

// ExecOutput is a piece of a program's output.
type ExecOutput struct {
	Stream ExecStream
	Data   []byte
	// Output, of both streams, that this handle has missed just before Data: it was gone for too
	// long. Only where it attached.
	LostBytes uint64
}

// Exec is one client of a program. One goroutine at a time reads, another may write stdin, any may
// do the rest.
//
// The program belongs to the Vm: it goes on over suspend and resume, fork (there a copy of it, with
// nobody attached), checkpoint and rollback, and when the process with the Exec dies; then
// Vm.AttachExec comes back to it. Closing the Exec of Vm.Exec before the end kills the program,
// unless it is detached or its Vm was suspended or rolled back since; closing one of AttachExec
// only detaches.
//
// Output: the guest keeps the last 256 KiB of both streams together (of the first 32 programs that
// run at a time; 64 KiB of those up to the 128th, 16 KiB of the others). The program waits for
// clients that are behind. When its last client is lost (not detached) it waits for 10 s for one
// that attaches again, but only once it has put out more than is kept; then it goes on and the
// oldest output is lost. stdin stays open until somebody who writes closes it.
//
// Where the Vm is suspended or rolled back under the Exec, by whomever, calls are ErrVmSuspended;
// AttachExec with Position goes on. With Reattach the call does so itself, and goes on at the byte
// where it was, also in stdin; where that can not be, because of a rollback or because another
// client has written meanwhile, it is ErrInvalidArgument or ErrBusy.
type Exec struct {
	handle *C.mvm_exec
	vm     *Vm
	id     string
	pid    int
	in     *waiter
	out    *waiter
}

// Exec starts a program. At most 1,024 run at a time in one Vm. One that could not be started is an
// Exec whose Wait says why. Arguments and environment: as Linux takes them, 2 MiB together and
// 128 KiB each. Errors: ErrAlreadyExists (the id), ErrBusy (too many), ErrUnsupported (an image of
// an older version: id, detached, long lists), ErrVmGone. Where the Vm was suspended under the
// call, the program may have been started in spite of ErrBusy and of the context's end: Execs
// tells. The context is of the call alone; closing the Exec ends the program.
func (vm *Vm) Exec(ctx context.Context, options *ExecOptions) (*Exec, error) {
	if options == nil {
		options = &ExecOptions{}
	}
	memory := &arena{}
	given := options.given(memory)
	var out *C.mvm_exec
	err := call(ctx, vm, "exec", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_exec(vm.handle, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	return newExec(vm, out)
}

// AttachExec gives another Exec of a program, at most 16 at a time; of one that has ended since,
// too: the rest of its output and its exit status. Errors: ErrNotFound, ErrBusy (another client
// writes; or too many), ErrInvalidArgument (a position that its output has not come to: it was
// rolled back), ErrUnsupported, ErrVmGone.
func (vm *Vm) AttachExec(ctx context.Context, id string, options *ExecAttachOptions) (*Exec, error) {
	memory := &arena{}
	cID, given := memory.text("id", id), options.given()
	var out *C.mvm_exec
	err := call(ctx, vm, "attach to an exec", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_attach_exec(vm.handle, cID, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	return newExec(vm, out)
}

func newExec(vm *Vm, handle *C.mvm_exec) (*Exec, error) {
	e := &Exec{handle: handle, vm: vm}
	fd := func(fd *C.int32_t, err **C.mvm_error) C.mvm_status { return C.mvm_exec_fd(handle, fd, err) }
	e.in, e.out = newStream("exec", syscall.EPOLLIN, fd), newStream("exec", syscall.EPOLLOUT, fd)
	closeForgotten(e)
	var err error
	e.id, err = textOf(e, func(out **C.char, err **C.mvm_error) C.mvm_status {
		return C.mvm_exec_id(handle, out, err)
	})
	var pid C.uint32_t
	if err == nil {
		err = quick(e, func(err **C.mvm_error) C.mvm_status { return C.mvm_exec_pid(handle, &pid, err) })
	}
	if err != nil {
		e.Close()
		return nil, err
	}
	e.pid = int(pid)
	return e, nil
}

// ID is empty with an image of an older version, whose programs end with their handle.
func (e *Exec) ID() string { return e.id }

// PID is in the guest; 0 when the program did not start, or had ended when this Exec attached.
func (e *Exec) PID() int { return e.pid }

// Position is of the next byte that Read returns, in both streams together, lost ones included.
func (e *Exec) Position() uint64 {
	var out C.uint64_t
	_ = quick(e, func(err **C.mvm_error) C.mvm_status { return C.mvm_exec_position(e.handle, &out, err) })
	return uint64(out)
}

// Writer says whether this Exec writes stdin; false as soon as a Read met a take-over.
func (e *Exec) Writer() bool {
	var out C.mvm_bool
	_ = quick(e, func(err **C.mvm_error) C.mvm_status { return C.mvm_exec_writer(e.handle, &out, err) })
	return out != 0
}

// Read waits for the next piece of output. io.EOF: the program has ended and all its output was
// read. The guest is slowed down when nobody reads. Errors: ErrVmSuspended, ErrVmGone.
func (e *Exec) Read(ctx context.Context) (*ExecOutput, error) {
	var out *C.mvm_exec_output
	err := e.in.take(ctx, e, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_exec_try_read(e.handle, &out, err)
	})
	if err != nil {
		return nil, err
	}
	if out == nil {
		return nil, io.EOF
	}
	defer release(out)
	return &ExecOutput{ExecStream(out.stream), goBytes(out.data, out.size), uint64(out.lost_bytes)}, nil
}

// WriteStdin waits while the program does not read. Errors: as of Read, and ErrBusy when this Exec
// does not (any more) write. When the context ends it a part of the data may be on its way.
func (e *Exec) WriteStdin(ctx context.Context, data []byte) error {
	return e.out.writeAll(ctx, e, data, func(data []byte, taken *C.size_t, err **C.mvm_error) C.mvm_status {
		return C.mvm_exec_try_write_stdin(e.handle, unsafe.Pointer(&data[0]), C.size_t(len(data)), taken, err)
	})
}

// CloseStdin has the program read what was written, then the end. Waits and fails as WriteStdin;
// may be repeated, the program meets one end.
func (e *Exec) CloseStdin(ctx context.Context) error {
	return e.out.take(ctx, e, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_exec_try_close_stdin(e.handle, err)
	})
}

// Signal sends one to the program's process group, after it was handed what was written to stdin
// before; one that is under way when the Vm is suspended may be lost. Errors: ErrInvalidArgument
// (no such signal), ErrVmSuspended, ErrVmGone, ErrDeadlineExceeded (10 s at most).
func (e *Exec) Signal(ctx context.Context, signal syscall.Signal) error {
	return call(ctx, e, "signal", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_exec_signal(e.handle, C.int32_t(signal), limits, err)
	})
}

// Detach leaves the program running; further calls are ErrBusy. What it has not read within a
// second of what was written may be lost, and so the end of stdin. ErrUnsupported: an image of a
// version whose programs can not be left; rebuild it.
func (e *Exec) Detach(ctx context.Context) error {
	return call(ctx, e, "detach", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_exec_detach(e.handle, limits, err)
	})
}

// Wait discards output that was not read and waits for the program's end.
func (e *Exec) Wait(ctx context.Context) (ExitStatus, error) {
	var out *C.mvm_exit_status
	err := e.in.take(ctx, e, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_exec_try_wait(e.handle, &out, err)
	})
	if err != nil {
		return ExitStatus{}, err
	}
	defer release(out)
	return exitStatusOf(out), nil
}

// Close kills the program if it runs, or detaches; see Exec. It wakes a Read that waits.
func (e *Exec) Close() error {
	if e.handle == nil { // was never opened
		return nil
	}
	runtime.SetFinalizer(e, nil)
	e.in.close()
	e.out.close()
	C.mvm_exec_free(e.handle)
	return nil
}

// Execs lists the programs, the oldest first.
func (vm *Vm) Execs(ctx context.Context) ([]ExecInfo, error) {
	var out *C.mvm_exec_list
	err := call(ctx, vm, "execs", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_execs(vm.handle, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return listOf(out.items, out.count, execInfoOf), nil
}

// SignalExec signals a program's process group; where the Vm was suspended under the call it may
// come twice, or be answered by the end it brought. Errors: ErrNotFound, ErrBusy (it has ended),
// ErrInvalidArgument (no such signal).
func (vm *Vm) SignalExec(ctx context.Context, id string, signal syscall.Signal) error {
	memory := &arena{}
	cID := memory.text("id", id)
	return call(ctx, vm, "signal an exec", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_signal_exec(vm.handle, cID, C.int32_t(signal), limits, err)
	})
}

// WaitExec waits until a program has ended; from then on it is not known any more. Reads none of
// its output, so others may have to. Holds an OS thread, unlike Exec.Wait. Errors: ErrNotFound,
// ErrVmSuspended, …
func (vm *Vm) WaitExec(ctx context.Context, id string) (ExitStatus, error) {
	memory := &arena{}
	cID := memory.text("id", id)
	var out *C.mvm_exit_status
	err := callOnThread(ctx, vm, "wait for an exec", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_wait_exec(vm.handle, cID, limits, &out, err)
	})
	if err != nil {
		return ExitStatus{}, err
	}
	defer release(out)
	return exitStatusOf(out), nil
}
