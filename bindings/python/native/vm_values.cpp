#include "values.hpp"

namespace microvm::python {

using py::literals::operator""_a;

namespace {

const char* type_name(FileType type) {
  switch (type) {
    case FileType::regular:
      return "regular";
    case FileType::directory:
      return "directory";
    case FileType::symlink:
      return "symlink";
    case FileType::fifo:
      return "fifo";
    case FileType::socket:
      return "socket";
    case FileType::character_device:
      return "character_device";
    case FileType::block_device:
      return "block_device";
  }
  return "regular";
}

const char* kind_name(FileEvent::Kind kind) {
  switch (kind) {
    case FileEvent::Kind::created:
      return "created";
    case FileEvent::Kind::modified:
      return "modified";
    case FileEvent::Kind::removed:
      return "removed";
    case FileEvent::Kind::renamed:
      return "renamed";
    case FileEvent::Kind::overflow:
      return "overflow";
  }
  return "overflow";
}

}  // namespace

py::dict describe(const VmInfo& info) {
  return py::dict("id"_a = text(info.id), "name"_a = text(info.name), "image"_a = text(info.image),
                  "state"_a = vm_state_name(info.state), "state_reason"_a = text(info.state_reason),
                  "end"_a = vm_end_name(info.end), "created"_a = text(info.created),
                  "worker_pid"_a = info.worker_pid, "memory_bytes"_a = info.memory_bytes,
                  "vcpus"_a = info.vcpus, "dies_with_owner"_a = info.dies_with_owner);
}

py::dict describe(const VmEnding& ending) {
  return py::dict("end"_a = vm_end_name(ending.end), "reason"_a = text(ending.reason));
}

py::dict describe(const LaunchTimes& times) {
  return py::dict("worker_us"_a = times.worker_us, "restore_us"_a = times.restore_us,
                  "agent_us"_a = times.agent_us, "ready_us"_a = times.ready_us);
}

py::dict describe(const SuspendTimes& times) {
  return py::dict("pause_us"_a = times.pause_us, "acknowledged_us"_a = times.acknowledged_us,
                  "durable_us"_a = times.durable_us, "changed_bytes"_a = times.changed_bytes,
                  "stored_bytes"_a = times.stored_bytes);
}

py::dict describe(const VmCounters& counters) {
  return py::dict("paused"_a = counters.paused, "exits"_a = counters.exits,
                  "start_to_run_ns"_a = counters.start_to_run_ns,
                  "network"_a = describe(counters.network));
}

py::dict describe(const ExitStatus& status) {
  return py::dict("code"_a = status.code, "signal"_a = status.signal,
                  "timed_out"_a = status.timed_out, "message"_a = text(status.message));
}

py::dict describe(const ExecInfo& info) {
  return py::dict("id"_a = text(info.id), "command"_a = text(info.command), "pid"_a = info.pid,
                  "clients"_a = info.clients, "written"_a = info.written,
                  "detached"_a = info.detached, "output_bytes"_a = info.output_bytes,
                  "ended"_a = describe(info.ended));
}

py::dict describe(const PtyInfo& info) {
  return py::dict("id"_a = text(info.id), "command"_a = text(info.command), "pid"_a = info.pid,
                  "size"_a = describe(info.size), "clients"_a = info.clients,
                  "writers"_a = info.writers,
                  "writing"_a = info.writing == PtyWriting::shared ? "shared" : "exclusive",
                  "ended"_a = describe(info.ended));
}

py::tuple describe(const PtySize& size) {
  return py::make_tuple(size.rows, size.columns);
}

py::dict describe(const FileInfo& info) {
  return py::dict("name"_a = text(info.name), "type"_a = type_name(info.type), "mode"_a = info.mode,
                  "uid"_a = info.uid, "gid"_a = info.gid, "size_bytes"_a = info.size_bytes,
                  "mtime_ns"_a = info.mtime_ns, "link_target"_a = text(info.link_target));
}

py::dict describe(const FileEvent& event) {
  return py::dict("kind"_a = kind_name(event.kind), "path"_a = text(event.path),
                  "old_path"_a = text(event.old_path), "is_directory"_a = event.is_directory);
}

py::dict describe(const TransferTotals& totals) {
  return py::dict("entries"_a = totals.entries, "bytes"_a = totals.bytes,
                  "skipped"_a = totals.skipped);
}

py::dict describe(const Finding& finding) {
  return py::dict("name"_a = text(finding.name), "state"_a = finding_state_name(finding.state),
                  "is_"_a = text(finding.is), "advice"_a = text(finding.advice),
                  "cost"_a = text(finding.cost));
}

}  // namespace microvm::python
