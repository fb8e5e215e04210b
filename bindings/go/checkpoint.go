package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"time"
)

// CheckpointOptions of Vm.Checkpoint; nil: the zero value.
type CheckpointOptions struct {
	Name string // empty: none; unique in the Runtime, usable instead of the id
}

// CheckpointInfo is of memory, disk and devices of a running Vm at one moment, kept until it is
// removed.
type CheckpointInfo struct {
	ID          string // 12 hex digits
	Name        string // empty: none
	VmID        string // the Vm it was taken of, which need not exist any more
	Image       string // "name:version" that Vm runs from
	Created     time.Time
	MemoryBytes uint64
	VCPUs       uint32
	StoredBytes uint64 // on the disk, parts it shares with its Vm and others included
}

func checkpointInfoOf(from *C.mvm_checkpoint_info) CheckpointInfo {
	return CheckpointInfo{
		ID:          C.GoString(from.id),
		Name:        C.GoString(from.name),
		VmID:        C.GoString(from.vm_id),
		Image:       C.GoString(from.image),
		Created:     goTime(from.created),
		MemoryBytes: uint64(from.memory_bytes),
		VCPUs:       uint32(from.vcpus),
		StoredBytes: uint64(from.stored_bytes),
	}
}

// Checkpoint keeps the Vm's present state, which goes on unchanged when the Vm does; it is paused
// only while its changed pages are copied. Returns when the checkpoint is on the disk.
func (vm *Vm) Checkpoint(ctx context.Context, options *CheckpointOptions) (*CheckpointInfo, error) {
	if options == nil {
		options = &CheckpointOptions{}
	}
	memory := &arena{}
	given := &C.mvm_checkpoint_options{
		struct_size: C.sizeof_mvm_checkpoint_options, name: memory.option("name", options.Name),
	}
	var out *C.mvm_checkpoint_info
	err := call(ctx, vm, "checkpoint", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_checkpoint(vm.handle, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	info := checkpointInfoOf(out)
	return &info, nil
}

// Rollback goes back to a checkpoint of this Vm: same id, identity and name; what it did since is
// lost. Streams of the host end.
func (vm *Vm) Rollback(ctx context.Context, checkpoint string) error {
	memory := &arena{}
	cCheckpoint := memory.text("checkpoint", checkpoint)
	return call(ctx, vm, "rollback", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_rollback(vm.handle, cCheckpoint, limits, err)
	})
}

// Checkpoints lists them, the oldest first.
func (r *Runtime) Checkpoints(ctx context.Context) ([]CheckpointInfo, error) {
	var out *C.mvm_checkpoint_list
	err := call(ctx, r, "checkpoints", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_checkpoints(r.handle, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return listOf(out.items, out.count, checkpointInfoOf), nil
}

// Commit makes a checkpoint the next version of an image.
func (r *Runtime) Commit(ctx context.Context, checkpoint, imageName string) (*ImageInfo, error) {
	memory := &arena{}
	cCheckpoint, cName := memory.text("checkpoint", checkpoint), memory.text("image", imageName)
	var out *C.mvm_image_info
	err := callOnThread(ctx, r, "commit", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_commit(r.handle, cCheckpoint, cName, limits, &out, err)
	})
	return takeImage(out, err)
}

// RemoveCheckpoint forgets one; Vms that were started from it go on.
func (r *Runtime) RemoveCheckpoint(ctx context.Context, idOrName string) error {
	memory := &arena{}
	name := memory.text("checkpoint", idOrName)
	return call(ctx, r, "remove a checkpoint", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_remove_checkpoint(r.handle, name, limits, err)
	})
}
