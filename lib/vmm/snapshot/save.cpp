#include "vmm/snapshot/save.hpp"

#include "state/memory_file.hpp"
#include "sys/file.hpp"
#include "vmm/snapshot/collect.hpp"

namespace microvm::vmm::snapshot {
namespace {

Result<uint64_t> write_memory(const GuestMemory& memory, int fd) {
  if (auto ok = state::make_sparse(fd, memory.size()); !ok) return base::fail(ok.error());
  const auto ranges = memory.data_ranges();
  if (!ranges) return base::fail(ranges.error());
  // The file has the regions one after another, as they stand in this process.
  const std::byte* first = memory.regions().front().host;
  uint64_t data_bytes = 0;
  for (const PageRange& range : *ranges) {
    const auto written =
        state::write_sparse(fd, range.offset, wire::ByteView(first + range.offset, range.length));
    if (!written) return base::fail(written.error());
    data_bytes += *written;
  }
  return data_bytes;
}

}  // namespace

Result<Saved> save(Machine& machine, int memory_fd, int state_fd) {
  if (auto ok = check_state_file(state_fd); !ok) return base::fail(ok.error());
  if (auto ok = machine.quiesce(); !ok) return base::fail(ok.error());
  const auto bytes = collect_state(machine);
  if (!bytes) return base::fail(bytes.error());
  const auto data_bytes = write_memory(machine.memory(), memory_fd);
  if (!data_bytes) return base::fail(data_bytes.error());
  if (auto ok = sys::pwrite_full(state_fd, *bytes, 0); !ok) return base::fail(ok.error());
  return Saved{machine.memory().size(), *data_bytes};
}

}  // namespace microvm::vmm::snapshot
