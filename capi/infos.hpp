// Infos that several nouns give out.
#pragma once

#include "microvm/checkpoint.hpp"
#include "microvm/event.hpp"
#include "microvm/exec.hpp"
#include "microvm/image.hpp"
#include "microvm/vm.hpp"
#include "results.hpp"

namespace microvm::capi {

void fill(Packer& packer, mvm_hooks& to, const Hooks& from);
void fill(Packer& packer, mvm_image_config& to, const ImageConfig& from);
void fill(Packer& packer, mvm_image_info& to, const ImageInfo& from);
void fill(Packer& packer, mvm_vm_info& to, const VmInfo& from);
void fill(Packer& packer, mvm_checkpoint_info& to, const CheckpointInfo& from);
void fill(Packer& packer, mvm_network_policy& to, const NetworkPolicy& from);
void fill(Packer& packer, mvm_network_counters& to, const NetworkCounters& from);
void fill(Packer& packer, mvm_vm_event& to, const VmEvent& from);
void fill(Packer& packer, mvm_exit_status& to, const ExitStatus& from);

}  // namespace microvm::capi
