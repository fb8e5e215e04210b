#include "infos.hpp"

namespace microvm::capi {
static_assert(MVM_VM_STATE_TERMINATED == value_of(VmState::terminated));
static_assert(MVM_VM_END_KILLED == value_of(VmEnd::killed));
static_assert(MVM_VM_EVENT_NETWORK_FAILED == value_of(VmEvent::Kind::network_failed));

void fill(Packer& /*packer*/, mvm_hooks& to, const Hooks& from) {
  to.port = from.port;
  to.ready_ms = from.ready.count();
  to.validate_ms = from.validate.count();
  to.run_ms = from.run.count();
  to.suspend_ms = from.suspend.count();
  to.resume_ms = from.resume.count();
  to.terminate_ms = from.terminate.count();
}

void fill(Packer& packer, mvm_image_config& to, const ImageConfig& from) {
  to.entrypoint = packer.texts(from.entrypoint);
  to.entrypoint_count = from.entrypoint.size();
  to.cmd = packer.texts(from.cmd);
  to.cmd_count = from.cmd.size();
  to.env = packer.texts(from.env);
  to.env_count = from.env.size();
  to.workdir = packer.text(from.workdir);
  to.user = packer.text(from.user);
  to.exposed_ports = packer.array(from.exposed_ports.data(), from.exposed_ports.size());
  to.exposed_ports_count = from.exposed_ports.size();
  to.labels = packer.pairs(from.labels);
  to.labels_count = from.labels.size();
  to.stop_signal = packer.text(from.stop_signal);
  to.hooks = packer.item<mvm_hooks>(from.hooks);
}

void fill(Packer& packer, mvm_image_info& to, const ImageInfo& from) {
  to.vcpus = from.vcpus;
  to.name = packer.text(from.name);
  to.version = packer.text(from.version);
  to.created = packer.text(from.created);
  to.base = packer.text(from.base);
  to.kernel = packer.text(from.kernel);
  to.memory_bytes = from.memory_bytes;
  to.memory_data_bytes = from.memory_data_bytes;
  to.disk_data_bytes = from.disk_data_bytes;
  to.boot_ms = from.boot_ms;
  to.has_app = from.has_app ? 1 : 0;
  to.config = packer.item<mvm_image_config>(from.config);
}

void fill(Packer& packer, mvm_vm_info& to, const VmInfo& from) {
  to.state = value_of(from.state);
  to.id = packer.text(from.id);
  to.name = packer.text(from.name);
  to.image = packer.text(from.image);
  to.state_reason = packer.text(from.state_reason);
  to.created = packer.text(from.created);
  to.memory_bytes = from.memory_bytes;
  to.vcpus = from.vcpus;
  to.worker_pid = from.worker_pid;
  to.end = value_of(from.end);
  to.dies_with_owner = from.dies_with_owner ? 1 : 0;
}

void fill(Packer& packer, mvm_checkpoint_info& to, const CheckpointInfo& from) {
  to.vcpus = from.vcpus;
  to.id = packer.text(from.id);
  to.name = packer.text(from.name);
  to.vm_id = packer.text(from.vm_id);
  to.image = packer.text(from.image);
  to.created = packer.text(from.created);
  to.memory_bytes = from.memory_bytes;
  to.stored_bytes = from.stored_bytes;
}

void fill(Packer& packer, mvm_vm_event& to, const VmEvent& from) {
  to.kind = value_of(from.kind);
  to.time = packer.text(from.time);
  to.vm_id = packer.text(from.vm_id);
  to.cause = packer.text(from.cause);
  to.took_us = from.took_us;
  to.detail = packer.text(from.detail);
  to.end = value_of(from.end);
}

void fill(Packer& packer, mvm_exit_status& to, const ExitStatus& from) {
  to.code = from.code;
  to.signal = from.signal;
  to.timed_out = from.timed_out ? 1 : 0;
  to.message = packer.text(from.message);
}

}  // namespace microvm::capi

const char* mvm_vm_state_name(mvm_vm_state state) {
  return microvm::vm_state_name(static_cast<microvm::VmState>(state));
}

const char* mvm_vm_end_name(mvm_vm_end end) {
  return microvm::vm_end_name(static_cast<microvm::VmEnd>(end));
}

const char* mvm_vm_event_name(mvm_vm_event_kind kind) {
  return microvm::vm_event_name(static_cast<microvm::VmEvent::Kind>(kind));
}
