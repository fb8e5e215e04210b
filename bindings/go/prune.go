package microvm

// #include <microvm.h>
import "C"

import "context"

// PruneOptions of Runtime.Prune; nil: the zero value. By default only what nobody can use any more
// is freed: the records and logs of Vms that outlived their owner and ended, what killed processes
// left half-written or half-removed, files of a Vm that its saved state does not name, base content
// without a name. What a Vm, a checkpoint or an image needs is never freed, and neither is anything
// in use by any process.
type PruneOptions struct {
	DryRun bool // only look
	// Also image versions that are not the newest of their name and that no Vm and no checkpoint
	// needs.
	Images bool
	// Also bases and kernels that no image (left by then) was built with.
	BasesAndKernels bool
}

// PrunedKind is what an item of a PruneReport is.
type PrunedKind int32

const (
	PrunedVm       PrunedKind = C.MVM_PRUNED_VM       // an ended one
	PrunedFile     PrunedKind = C.MVM_PRUNED_FILE     // of a Vm or a checkpoint; its name: "<id>/<file>"
	PrunedLeftover PrunedKind = C.MVM_PRUNED_LEFTOVER // of a process that is gone
	PrunedImage    PrunedKind = C.MVM_PRUNED_IMAGE
	PrunedBase     PrunedKind = C.MVM_PRUNED_BASE
	PrunedKernel   PrunedKind = C.MVM_PRUNED_KERNEL
)

func (k PrunedKind) String() string { return C.GoString(C.mvm_pruned_kind_name(C.mvm_pruned_kind(k))) }

// PrunedItem is one thing that was freed.
type PrunedItem struct {
	Kind  PrunedKind
	Name  string // an id, a name, or "name:version"
	Bytes uint64 // given back to the disk; what others share with it is not counted
}

// PruneReport is what was freed; of a dry run: what would be.
type PruneReport struct {
	Items []PrunedItem
	Bytes uint64 // of all of them
}

// Prune frees what nothing needs any more, or says what that is; safe beside other processes that
// use the directory. When the context ends it, what was freed until then is, and the rest is whole.
func (r *Runtime) Prune(ctx context.Context, options *PruneOptions) (*PruneReport, error) {
	if options == nil {
		options = &PruneOptions{}
	}
	given := &C.mvm_prune_options{
		struct_size:       C.sizeof_mvm_prune_options,
		dry_run:           boolOf(options.DryRun),
		images:            boolOf(options.Images),
		bases_and_kernels: boolOf(options.BasesAndKernels),
	}
	var out *C.mvm_prune_report
	err := callOnThread(ctx, r, "prune", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_prune(r.handle, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	items := listOf(out.items, out.count, func(from *C.mvm_pruned_item) PrunedItem {
		return PrunedItem{PrunedKind(from.kind), C.GoString(from.name), uint64(from.bytes)}
	})
	return &PruneReport{Items: items, Bytes: uint64(out.bytes)}, nil
}
