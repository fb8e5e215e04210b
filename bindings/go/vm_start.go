package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"runtime"
	"syscall"
	"time"
)

// RunOptions of Runtime.Run, RunCheckpoint, Start and StartCheckpoint; nil: the zero value.
type RunOptions struct {
	Name          string // empty: none; unique in the Runtime, usable instead of the id
	OutlivesOwner bool   // false: the Vm ends with the process that started it
	// Until the agent is ready; the first launch of an image checks its files before that. 0: 30 s.
	StartTimeout time.Duration
	Idle         *IdlePolicy // nil: never idle
	// For the image's run hook: UTF-8, at most MaxRunHookPayloadBytes. ErrInvalidArgument when it is
	// not, or when the image has no such hook.
	RunHookPayload string
	// nil: automatic. ErrUnsupported: NetworkUser or NetworkTap, and the image has no network device,
	// as those of before have not.
	Network *NetworkOptions
}

func (o *RunOptions) given(memory *arena) *C.mvm_run_options {
	if o == nil {
		return nil
	}
	return &C.mvm_run_options{
		struct_size:      C.sizeof_mvm_run_options,
		outlives_owner:   boolOf(o.OutlivesOwner),
		name:             memory.option("name", o.Name),
		start_timeout_ms: milliseconds(o.StartTimeout),
		idle:             o.Idle.given(memory),
		run_hook_payload: memory.option("run hook payload", o.RunHookPayload),
		network:          o.Network.given(memory),
	}
}

// VmStart is a Vm that is being started, by one of the Runtime's threads: at most eight of a
// Runtime are carried out at a time, the others wait for their turn.
type VmStart struct {
	handle  *C.mvm_vm_start
	runtime *Runtime
	in      *waiter
}

// Start begins what Run does, and does not wait for it.
func (r *Runtime) Start(image string, options *RunOptions) (*VmStart, error) {
	memory := &arena{}
	cImage, given := memory.text("image", image), options.given(memory)
	return r.start(memory, func(out **C.mvm_vm_start, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_start(r.handle, cImage, given, out, err)
	})
}

// StartCheckpoint begins what RunCheckpoint does, and does not wait for it.
func (r *Runtime) StartCheckpoint(idOrName string, options *RunOptions) (*VmStart, error) {
	memory := &arena{}
	name, given := memory.text("checkpoint", idOrName), options.given(memory)
	return r.start(memory, func(out **C.mvm_vm_start, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_start_checkpoint(r.handle, name, given, out, err)
	})
}

func (r *Runtime) start(memory *arena, f func(out **C.mvm_vm_start, err **C.mvm_error) C.mvm_status) (*VmStart, error) {
	defer memory.free()
	if memory.err != nil {
		return nil, memory.err
	}
	var out *C.mvm_vm_start
	if err := quick(r, func(err **C.mvm_error) C.mvm_status { return f(&out, err) }); err != nil {
		return nil, err
	}
	s := &VmStart{handle: out, runtime: r}
	s.in = newStream("start", syscall.EPOLLIN, func(fd *C.int32_t, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_start_fd(out, fd, err)
	})
	closeForgotten(s)
	return s, nil
}

// Take waits for the Vm and gives it out, once; the errors are those of Run. When the context ends
// the wait the start goes on and can be taken later.
func (s *VmStart) Take(ctx context.Context) (*Vm, error) {
	var out *C.mvm_vm
	err := s.in.take(ctx, s, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_start_try_take(s.handle, &out, err)
	})
	if err != nil {
		return nil, err
	}
	return newVm(s.runtime, out)
}

// Cancel gives the start up, or ends the Vm if it is through and nobody has taken it: nothing of it
// stays. Take then says ErrCancelled.
func (s *VmStart) Cancel() {
	_ = quick(s, func(err **C.mvm_error) C.mvm_status { return C.mvm_vm_start_cancel(s.handle, err) })
}

// Close cancels what nobody has taken.
func (s *VmStart) Close() error {
	if s.handle == nil { // was never opened
		return nil
	}
	runtime.SetFinalizer(s, nil)
	s.in.close()
	C.mvm_vm_start_free(s.handle)
	return nil
}

// Run launches a Vm from the image's snapshot; it returns when the agent is ready and the run hook,
// if the image has one, was answered. ErrGuestFailed: also when that hook fails; nothing stays
// behind. Nor does it when the context ends the call.
func (r *Runtime) Run(ctx context.Context, image string, options *RunOptions) (*Vm, error) {
	if err := ctx.Err(); err != nil {
		return nil, contextError("run", err)
	}
	start, err := r.Start(image, options)
	if err != nil {
		return nil, err
	}
	defer start.Close()
	return start.Take(ctx)
}

// RunCheckpoint starts a new Vm that goes on from a checkpoint, with an identity of its own; its
// run hook is called.
func (r *Runtime) RunCheckpoint(ctx context.Context, idOrName string, options *RunOptions) (*Vm, error) {
	if err := ctx.Err(); err != nil {
		return nil, contextError("run a checkpoint", err)
	}
	start, err := r.StartCheckpoint(idOrName, options)
	if err != nil {
		return nil, err
	}
	defer start.Close()
	return start.Take(ctx)
}
