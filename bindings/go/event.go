package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"io"
	"runtime"
	"syscall"
	"time"
)

// VmEnd is in what way a Vm ended.
type VmEnd int32

const (
	VmEndNone       VmEnd = C.MVM_VM_END_NONE        // it has not ended
	VmEndTerminated VmEnd = C.MVM_VM_END_TERMINATED  // somebody asked for it, or its owner went away
	VmEndPoweredOff VmEnd = C.MVM_VM_END_POWERED_OFF // by its guest
	VmEndReset      VmEnd = C.MVM_VM_END_RESET       // likewise
	VmEndPanicked   VmEnd = C.MVM_VM_END_PANICKED    // the guest's kernel
	VmEndCrashed    VmEnd = C.MVM_VM_END_CRASHED     // it stopped with a triple fault, or KVM could not go on
	VmEndKilled     VmEnd = C.MVM_VM_END_KILLED      // its worker was, or left no word
)

func (e VmEnd) String() string { return C.GoString(C.mvm_vm_end_name(C.mvm_vm_end(e))) }

// VmEnding is how a Vm ended.
type VmEnding struct {
	End    VmEnd
	Reason string // one line
}

// VmEventKind is what happened to a Vm.
type VmEventKind int32

const (
	VmStarted      VmEventKind = C.MVM_VM_EVENT_STARTED
	VmSuspended    VmEventKind = C.MVM_VM_EVENT_SUSPENDED  // its state is on the disk
	VmSuspending   VmEventKind = C.MVM_VM_EVENT_SUSPENDING // the guest has stopped
	VmResumed      VmEventKind = C.MVM_VM_EVENT_RESUMED
	VmRunsOn       VmEventKind = C.MVM_VM_EVENT_RUNS_ON // a suspend failed: Detail says why
	VmForked       VmEventKind = C.MVM_VM_EVENT_FORKED
	VmCheckpointed VmEventKind = C.MVM_VM_EVENT_CHECKPOINTED
	VmRolledBack   VmEventKind = C.MVM_VM_EVENT_ROLLED_BACK
	VmTerminated   VmEventKind = C.MVM_VM_EVENT_TERMINATED  // told once; Detail is the reason
	VmHookFailed   VmEventKind = C.MVM_VM_EVENT_HOOK_FAILED // Detail names the hook and says why
	// Its network could not be started, or went away and its flows with it; Detail says why. The
	// guest's next packet tries again. Told by each process that talks with its worker.
	VmNetworkFailed VmEventKind = C.MVM_VM_EVENT_NETWORK_FAILED
)

func (k VmEventKind) String() string {
	return C.GoString(C.mvm_vm_event_name(C.mvm_vm_event_kind(k)))
}

// Values of VmEvent.Cause. A suspended Vm that was resumed for the sake of another call has what
// that call was about to do instead: "exec", "connect", "read a file", …
const (
	CauseCall     = C.MVM_CAUSE_CALL     // Suspend, Fork, …
	CauseIdle     = C.MVM_CAUSE_IDLE     // IdlePolicy.IdleAfter
	CauseGuest    = C.MVM_CAUSE_GUEST    // /run/microvm/suspend
	CauseSlept    = C.MVM_CAUSE_SLEPT    // IdlePolicy.SuspendedFor
	CauseLifetime = C.MVM_CAUSE_LIFETIME // IdlePolicy.Lifetime
	CauseRunHook  = C.MVM_CAUSE_RUN_HOOK // that failed
	CauseItself   = C.MVM_CAUSE_ITSELF   // it ended; Detail says in what way
	CauseOwner    = C.MVM_CAUSE_OWNER    // that it dies with went away
)

// VmEvent is one thing that happened to a Vm, and why.
type VmEvent struct {
	Time   time.Time
	VmID   string
	Kind   VmEventKind
	Cause  string        // CauseCall, …
	Took   time.Duration // what it cost, hooks included
	Detail string        // one line, may be empty
	End    VmEnd         // of VmTerminated; VmEndNone in what an older version has told
}

func vmEventOf(from *C.mvm_vm_event) VmEvent {
	return VmEvent{
		Time:   goTime(from.time),
		VmID:   C.GoString(from.vm_id),
		Kind:   VmEventKind(from.kind),
		Cause:  C.GoString(from.cause),
		Took:   microseconds(from.took_us),
		Detail: C.GoString(from.detail),
		End:    VmEnd(from.end),
	}
}

// EventOptions of Runtime.Events; nil: the zero value.
type EventOptions struct {
	Follow bool // also what happens from now on
}

// EventStream tells what happened to the Vms of a data directory, by whatever process, oldest
// first: the last one to two megabytes of it are kept. Who falls more than a megabyte behind misses
// events.
type EventStream struct {
	handle  *C.mvm_event_stream
	runtime *Runtime // ends its streams when it is collected
	in      *waiter
}

// Events opens a stream of what happened lately; with Follow also of what happens from now on.
func (r *Runtime) Events(ctx context.Context, options *EventOptions) (*EventStream, error) {
	var given *C.mvm_event_options
	if options != nil {
		given = &C.mvm_event_options{struct_size: C.sizeof_mvm_event_options, follow: boolOf(options.Follow)}
	}
	var out *C.mvm_event_stream
	err := call(ctx, r, "events", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_events(r.handle, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	s := &EventStream{handle: out, runtime: r}
	s.in = newStream("events", syscall.EPOLLIN, func(fd *C.int32_t, err **C.mvm_error) C.mvm_status {
		return C.mvm_event_stream_fd(out, fd, err)
	})
	closeForgotten(s)
	return s, nil
}

// Next waits for the next event. io.EOF: all that was there has been told, and Follow is not set.
func (s *EventStream) Next(ctx context.Context) (*VmEvent, error) {
	var out *C.mvm_vm_event
	err := s.in.take(ctx, s, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_event_stream_try_next(s.handle, &out, err)
	})
	if err != nil {
		return nil, err
	}
	if out == nil {
		return nil, io.EOF
	}
	defer release(out)
	event := vmEventOf(out)
	return &event, nil
}

// Close ends the stream, and a Next that waits.
func (s *EventStream) Close() error {
	if s.handle == nil { // was never opened
		return nil
	}
	runtime.SetFinalizer(s, nil)
	s.in.close()
	C.mvm_event_stream_free(s.handle)
	return nil
}
