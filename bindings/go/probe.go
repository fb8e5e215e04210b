package microvm

// #include "bridge.h"
import "C"

import (
	"context"
	"time"
)

// FindingState says how bad a Finding is.
type FindingState int32

const (
	FindingOK      FindingState = C.MVM_FINDING_OK
	FindingNotice  FindingState = C.MVM_FINDING_NOTICE  // microVMs run; something could be better
	FindingProblem FindingState = C.MVM_FINDING_PROBLEM // they do not run, or not for long
)

func (s FindingState) String() string {
	return C.GoString(C.mvm_finding_state_name(C.mvm_finding_state(s)))
}

// Finding is one thing of the host that was looked at.
type Finding struct {
	Name   string // "kvm", "kernel", "clocksource", …; stays the same, for programs
	State  FindingState
	Is     string // what was found
	Advice string // what to change; empty: nothing
	Cost   string // what it costs to leave it; empty: nothing
}

func findingOf(from *C.mvm_finding) Finding {
	return Finding{
		Name: C.GoString(from.name), State: FindingState(from.state), Is: C.GoString(from.is),
		Advice: C.GoString(from.advice), Cost: C.GoString(from.cost),
	}
}

// ProbeOptions of ProbeHost; nil: the zero value.
type ProbeOptions struct {
	DataDir string // as in RuntimeOptions
}

// ProbeHost runs tiny guests on /dev/kvm to see what it really executes, and reads what the kernel
// tells. Takes some ten milliseconds, changes nothing. "kvm" is first.
func ProbeHost(ctx context.Context, options *ProbeOptions) ([]Finding, error) {
	if err := checkLibrary(); err != nil {
		return nil, err
	}
	if options == nil {
		options = &ProbeOptions{}
	}
	memory := &arena{}
	given := &C.mvm_probe_options{
		struct_size: C.sizeof_mvm_probe_options, data_dir: memory.option("data directory", options.DataDir),
	}
	var out *C.mvm_finding_list
	err := call(ctx, nil, "probe the host", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_probe_host(given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return listOf(out.items, out.count, findingOf), nil
}

// ProbeKVM asks only whether a stock kernel will run: nil, ErrKVMUnavailable or ErrKVMUnsuitable.
func ProbeKVM(ctx context.Context) error {
	if err := checkLibrary(); err != nil {
		return err
	}
	return call(ctx, nil, "probe kvm", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_probe_kvm(limits, err)
	})
}

// DeepProbeOptions of DeepProbe; nil: the zero value.
type DeepProbeOptions struct {
	DataDir   string // whose newest kernel is booted; as in RuntimeOptions
	KernelDeb string // a Debian linux-image to boot instead
	// Where the probe makes a directory for itself, which it removes again. Empty: the system's place
	// for temporary files.
	ScratchDir string
	Clones     uint32 // 0: 20
	Suspends   uint32 // 0: 20
	Progress   func(Progress)
}

// ProbeStepState is how a ProbeStep went.
type ProbeStepState int32

const (
	ProbeStepPassed  ProbeStepState = C.MVM_PROBE_STEP_PASSED
	ProbeStepFailed  ProbeStepState = C.MVM_PROBE_STEP_FAILED
	ProbeStepSkipped ProbeStepState = C.MVM_PROBE_STEP_SKIPPED // Detail says why
)

func (s ProbeStepState) String() string {
	return C.GoString(C.mvm_probe_step_state_name(C.mvm_probe_step_state(s)))
}

// ProbeStep is one thing that was done, so many times.
type ProbeStep struct {
	Name   string
	State  ProbeStepState
	Detail string
	Count  uint64        // how often
	P50    time.Duration // of each time; 0: not timed
	Most   time.Duration
}

func probeStepOf(from *C.mvm_probe_step) ProbeStep {
	return ProbeStep{
		Name: C.GoString(from.name), State: ProbeStepState(from.state), Detail: C.GoString(from.detail),
		Count: uint64(from.count), P50: fromMilliseconds(from.p50_ms), Most: fromMilliseconds(from.most_ms),
	}
}

func fromMilliseconds(ms C.double) time.Duration {
	return time.Duration(float64(ms) * float64(time.Millisecond))
}

// DeepReport is of the machine, its kernel and what was seen, and nothing of who uses it: no names,
// paths or ids.
type DeepReport struct {
	CPUModel      string
	Microcode     string
	CPUs          uint32
	MemoryBytes   uint64
	Kernel        string
	KVMParameters map[string]string // "kvm.nx_huge_pages": "Y"
	Findings      []Finding
	Steps         []ProbeStep
	Took          time.Duration

	passed bool
}

// Passed is true when no step failed and no finding is a problem.
func (r *DeepReport) Passed() bool { return r.passed }

// DeepProbe runs tiny guests with 1 to 8 vCPUs and, where Linux runs and there is a kernel, a guest
// with two vCPUs: boot, snapshot, clones, suspends, with looks at clocks and randomness. Needs no
// root and leaves nothing behind. Two minutes at most: what there was no time for is skipped.
func DeepProbe(ctx context.Context, options *DeepProbeOptions) (*DeepReport, error) {
	if err := checkLibrary(); err != nil {
		return nil, err
	}
	if options == nil {
		options = &DeepProbeOptions{}
	}
	memory := &arena{}
	given := &C.mvm_deep_probe_options{
		struct_size: C.sizeof_mvm_deep_probe_options,
		data_dir:    memory.option("data directory", options.DataDir),
		kernel_deb:  memory.option("kernel", options.KernelDeb),
		scratch_dir: memory.option("scratch directory", options.ScratchDir),
		clones:      C.uint32_t(options.Clones),
		suspends:    C.uint32_t(options.Suspends),
	}
	var back *callbacks
	back, given.progress, given.progress_user = progressOf(memory, options.Progress)
	var out *C.mvm_deep_report
	err := callWith(ctx, nil, "probe deeply", memory, back, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_deep_probe(given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return deepReportOf(out), nil
}

func deepReportOf(from *C.mvm_deep_report) *DeepReport {
	return &DeepReport{
		CPUModel:      C.GoString(from.cpu_model),
		Microcode:     C.GoString(from.microcode),
		CPUs:          uint32(from.cpus),
		MemoryBytes:   uint64(from.memory_bytes),
		Kernel:        C.GoString(from.kernel),
		KVMParameters: goTextMap(from.kvm_parameters, from.kvm_parameters_count),
		Findings:      listOf(from.findings, from.findings_count, findingOf),
		Steps:         listOf(from.steps, from.steps_count, probeStepOf),
		Took:          time.Duration(from.took_ms) * time.Millisecond,
		passed:        from.passed != 0,
	}
}
