package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// VmState is what a Vm is doing.
type VmState int32

const (
	VmStateRunning     VmState = C.MVM_VM_STATE_RUNNING
	VmStateSuspending  VmState = C.MVM_VM_STATE_SUSPENDING // seen by the handle that suspends it; others see it run
	VmStateSuspended   VmState = C.MVM_VM_STATE_SUSPENDED
	VmStateTerminating VmState = C.MVM_VM_STATE_TERMINATING // likewise: its terminate hook is asked, its worker goes
	VmStateTerminated  VmState = C.MVM_VM_STATE_TERMINATED
)

func (s VmState) String() string { return C.GoString(C.mvm_vm_state_name(C.mvm_vm_state(s))) }

// VmInfo is what is known of a Vm.
type VmInfo struct {
	ID    string // 12 hex digits
	Name  string
	Image string // "name:version"
	State VmState
	// Of a suspended or terminated one how its last worker ended; of one that a newer version of the
	// library made, that it did: then only ID and State are known.
	StateReason   string
	End           VmEnd // of a terminated one
	Created       time.Time
	WorkerPID     int
	MemoryBytes   uint64
	VCPUs         uint32
	OutlivesOwner bool
}

func vmInfoOf(from *C.mvm_vm_info) VmInfo {
	return VmInfo{
		ID:            C.GoString(from.id),
		Name:          C.GoString(from.name),
		Image:         C.GoString(from.image),
		State:         VmState(from.state),
		StateReason:   C.GoString(from.state_reason),
		End:           VmEnd(from.end),
		Created:       goTime(from.created),
		WorkerPID:     int(from.worker_pid),
		MemoryBytes:   uint64(from.memory_bytes),
		VCPUs:         uint32(from.vcpus),
		OutlivesOwner: from.dies_with_owner == 0,
	}
}

// LaunchTimes is what a launch cost, from the call of Run on.
type LaunchTimes struct {
	Worker  time.Duration // a worker was at hand (pooled) or started
	Restore time.Duration // … the guest executed its first instruction
	Agent   time.Duration // … the agent connected
	Ready   time.Duration // … identity applied, user processes run; the run hook comes after it
}

// VmCounters are of the worker that holds a Vm.
type VmCounters struct {
	Paused     bool
	Exits      uint64        // returns from KVM_RUN
	StartToRun time.Duration // in the worker: request received → first KVM_RUN
	Network    NetworkCounters
}

// Vm is one microVM. All methods may be called by many goroutines at a time. Calls that need the
// guest resume a suspended Vm first.
//
// suspend, resume, fork, checkpoint, rollback, terminate and the policy's decisions change a Vm one
// after the other, from whatever handle, goroutine or process, and each finds what the one before
// has left. A call that uses the guest goes on over fork and checkpoint; suspend, rollback and
// terminate cut it short: its streams end, while programs of Exec and on terminals go on in the
// guest and can be attached to again. One that begins meanwhile waits for a resume or rollback,
// wakes what was suspended, is ErrVmGone after terminate.
type Vm struct {
	handle  *C.mvm_vm
	runtime *Runtime
	id      string
	end     *waiter
}

func newVm(r *Runtime, handle *C.mvm_vm) (*Vm, error) {
	vm := &Vm{handle: handle, runtime: r}
	vm.end = newStream("wait for a vm", syscall.EPOLLIN, func(fd *C.int32_t, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_end_fd(handle, fd, err)
	})
	closeForgotten(vm)
	id, err := textOf(vm, func(out **C.char, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_id(handle, out, err)
	})
	if err != nil {
		vm.Close()
		return nil, err
	}
	vm.id = id
	return vm, nil
}

// Close gives the handle back. A Vm that dies with its owner ends when its last handle and the
// Runtime are closed; Terminate ends it at once.
func (vm *Vm) Close() error {
	if vm.handle == nil { // was never opened
		return nil
	}
	runtime.SetFinalizer(vm, nil)
	vm.end.close()
	C.mvm_vm_free(vm.handle)
	return nil
}

// ID is 12 hex digits.
func (vm *Vm) ID() string { return vm.id }

// Info says what the Vm is doing now.
func (vm *Vm) Info() (*VmInfo, error) {
	var out *C.mvm_vm_info
	err := quick(vm, func(err **C.mvm_error) C.mvm_status { return C.mvm_vm_get_info(vm.handle, &out, err) })
	if err != nil {
		return nil, err
	}
	defer release(out)
	info := vmInfoOf(out)
	return &info, nil
}

// LaunchTimes is of the last start; zero for an attached Vm.
func (vm *Vm) LaunchTimes() (LaunchTimes, error) {
	var out *C.mvm_launch_times
	err := quick(vm, func(err **C.mvm_error) C.mvm_status { return C.mvm_vm_launch_times(vm.handle, &out, err) })
	if err != nil {
		return LaunchTimes{}, err
	}
	defer release(out)
	return LaunchTimes{
		Worker: microseconds(out.worker_us), Restore: microseconds(out.restore_us),
		Agent: microseconds(out.agent_us), Ready: microseconds(out.ready_us),
	}, nil
}

// Counters gives up after 10 s.
func (vm *Vm) Counters(ctx context.Context) (*VmCounters, error) {
	var out *C.mvm_vm_counters
	err := call(ctx, vm, "counters", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_get_counters(vm.handle, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return &VmCounters{
		Paused: out.paused != 0, Exits: uint64(out.exits), StartToRun: time.Duration(out.start_to_run_ns),
		Network: networkCountersOf(out.network),
	}, nil
}

// Vms lists all that are there: running, asleep, or ended and not yet removed. One that a newer
// version of the library made is listed, kept, and ErrUnsupported to every call that needs more.
func (r *Runtime) Vms(ctx context.Context) ([]VmInfo, error) {
	var out *C.mvm_vm_list
	err := call(ctx, r, "vms", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_vms(r.handle, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return listOf(out.items, out.count, vmInfoOf), nil
}

// Attach gives a handle of a Vm that is there.
func (r *Runtime) Attach(ctx context.Context, idOrName string) (*Vm, error) {
	memory := &arena{}
	name := memory.text("name", idOrName)
	var out *C.mvm_vm
	err := call(ctx, r, "attach", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_attach(r.handle, name, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	return newVm(r, out)
}

// RemoveVm ends a Vm if needed, as Vm.Terminate does, and forgets it.
func (r *Runtime) RemoveVm(ctx context.Context, idOrName string) error {
	memory := &arena{}
	name := memory.text("name", idOrName)
	return call(ctx, r, "remove a vm", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_remove_vm(r.handle, name, limits, err)
	})
}

// SuspendOptions of Vm.Suspend; nil: the zero value.
type SuspendOptions struct {
	// False: Suspend returns when the state is on the disk and the worker's memory is free. True:
	// when the guest has stopped; the rest goes on in the background, in VmStateSuspending, and what
	// it did since it was last saved is lost if its worker is killed before that is done.
	NoWaitDurable bool
}

// SuspendTimes is what a suspend cost, from its call.
type SuspendTimes struct {
	Pause        time.Duration // in the worker: to stop the guest and take its state
	Acknowledged time.Duration // … the suspend hook, the guest has stopped, its state is taken
	Durable      time.Duration // … it is committed to the disk and the worker is gone
	ChangedBytes uint64        // pages written by the guest since its worker was started
	StoredBytes  uint64        // on disk, compressed
}

// Suspend stops the guest and keeps its state: what it changed, compressed. It costs nothing but
// that until it is resumed, by Resume or by any call that needs the guest, here or in another
// process that opens the data directory (only here if it dies with its owner). Streams of the host
// (Connect, Pty, Exec without Reattach) end when the worker is gone, log streams go on; programs
// and connections inside go on later as if nothing had been, with the right wall clock and a
// monotonic one that did not jump. A suspended Vm stays suspended (no error). Errors: ErrBusy (this
// process is suspending it; too many calls wait), ErrOutOfDisk (the Vm runs on), ErrVmGone.
func (vm *Vm) Suspend(ctx context.Context, options *SuspendOptions) (*SuspendTimes, error) {
	given := &C.mvm_suspend_options{struct_size: C.sizeof_mvm_suspend_options}
	if options != nil {
		given.no_wait_durable = boolOf(options.NoWaitDurable)
	}
	var out *C.mvm_suspend_times
	err := call(ctx, vm, "suspend", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_suspend(vm.handle, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return &SuspendTimes{
		Pause: microseconds(out.pause_us), Acknowledged: microseconds(out.acknowledged_us),
		Durable: microseconds(out.durable_us), ChangedBytes: uint64(out.changed_bytes), StoredBytes: uint64(out.stored_bytes),
	}, nil
}

// ResumeOptions of Vm.Resume; nil: the zero value.
type ResumeOptions struct {
	Idle *IdlePolicy // nil: the recorded one
}

// Resume returns when the guest's programs run and the resume hook, if there is one, is through; at
// once when they do. Many callers share one resume; calls of this process that need the guest wait
// for it. Errors: ErrCorrupt (naming the file), ErrOutOfDisk, ErrBusy (it dies with another
// process, or too many wait), ErrVmGone. After a failure the saved state is as it was.
func (vm *Vm) Resume(ctx context.Context, options *ResumeOptions) error {
	memory := &arena{}
	given := &C.mvm_resume_options{struct_size: C.sizeof_mvm_resume_options}
	if options != nil {
		given.idle = options.Idle.given(memory)
	}
	return call(ctx, vm, "resume", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_resume(vm.handle, given, limits, err)
	})
}

// ForkOptions of Vm.Fork; nil: the zero value.
type ForkOptions struct {
	Count          uint32        // 0: 1; at most 1,000
	Name           string        // of the fork; of several: the beginning, "-1", "-2" … are added
	OutlivesOwner  bool          // as in RunOptions
	StartTimeout   time.Duration // for each, until its agent is ready; 0: a minute
	Idle           *IdlePolicy   // nil: never idle
	RunHookPayload string        // the same for each; as in RunOptions
	// nil: mode and policy of the source. A tap is one Vm's: of a source with one say what each gets.
	Network *NetworkOptions
}

// Fork makes new Vms that go on from where this one is now, sharing its memory and disk until they
// write, each with its own hostname, machine-id, boot_id and random numbers before its programs go
// on. This one is paused for the copy of what it changed. All of them or none: also when a run hook
// fails.
func (vm *Vm) Fork(ctx context.Context, options *ForkOptions) ([]*Vm, error) {
	if options == nil {
		options = &ForkOptions{}
	}
	memory := &arena{}
	given := &C.mvm_fork_options{
		struct_size:      C.sizeof_mvm_fork_options,
		count:            C.uint32_t(options.Count),
		name:             memory.option("name", options.Name),
		start_timeout_ms: milliseconds(options.StartTimeout),
		idle:             options.Idle.given(memory),
		run_hook_payload: memory.option("run hook payload", options.RunHookPayload),
		outlives_owner:   boolOf(options.OutlivesOwner),
		network:          options.Network.given(memory),
	}
	var out *C.mvm_fork_list
	err := call(ctx, vm, "fork", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_fork(vm.handle, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return vm.runtime.adopt(unsafe.Slice(out.items, int(out.count)))
}

// adopt makes Vms of handles: all or none.
func (r *Runtime) adopt(handles []*C.mvm_vm) ([]*Vm, error) {
	var vms []*Vm
	var failed error
	for _, handle := range handles {
		vm, err := newVm(r, handle)
		if err != nil {
			failed = err
			continue
		}
		vms = append(vms, vm)
	}
	if failed == nil {
		return vms, nil
	}
	for _, vm := range vms {
		vm.Close()
	}
	return nil, failed
}

// Terminate ends the Vm at once, or when its terminate hook is through; idempotent. Everything it
// left on the host is removed; of a Vm that may outlive its owner, record and logs stay until
// Runtime.RemoveVm. It waits for a change under way for a minute, and what its hooks may take, then
// ends the Vm all the same. The context cuts that short: before the end has begun the call fails
// and nothing has happened; a terminate hook that is being asked is given up and the Vm ends.
func (vm *Vm) Terminate(ctx context.Context) error {
	return call(ctx, vm, "terminate", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_terminate(vm.handle, limits, err)
	})
}

// Wait waits until the Vm has ended by itself or by Terminate.
func (vm *Vm) Wait(ctx context.Context) (*VmEnding, error) {
	var out *C.mvm_vm_ending
	err := vm.end.take(ctx, vm, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_try_wait(vm.handle, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return &VmEnding{End: VmEnd(out.end), Reason: C.GoString(out.reason)}, nil
}
