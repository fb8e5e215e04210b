#include "state/overlay.hpp"

#include "state/crc32c.hpp"
#include "state/format_version.hpp"
#include "state/memory_file.hpp"
#include "sys/file.hpp"
#include "wire/bytes.hpp"

namespace microvm::state {
namespace {

constexpr std::string_view kListMagic = "MVMPLIST";
constexpr uint32_t kListVersion = 1;
constexpr size_t kListHeaderBytes = 24;
constexpr size_t kListedRunBytes = 12;

base::Failure bad_overlay(const std::string& what) {
  return base::fail(ErrorCode::corrupt, "memory overlay: " + what);
}

// The number of runs, and the sum over them.
struct ListHeader {
  uint32_t runs = 0;
  uint32_t checksum = 0;
};

Result<ListHeader> decode_list_header(wire::ByteView bytes) {
  wire::ByteReader in(bytes);
  if (wire::as_text(in.get_bytes(kListMagic.size())) != kListMagic) {
    return bad_overlay("longer than the memory");
  }
  const auto version = in.get<uint32_t>();
  const ListHeader header{in.get<uint32_t>(), in.get<uint32_t>()};
  if (in.get<uint32_t>() != crc32c(bytes.first(kListHeaderBytes - sizeof(uint32_t)))) {
    return bad_overlay("the header of its page list is damaged");
  }
  if (auto ok = check_version("memory overlay", version, kListVersion); !ok) {
    return base::fail(ok.error());
  }
  if (header.runs > kMaxOverlayRuns) return bad_overlay("too many pieces");
  return header;
}

Result<PageRuns> read_list(int fd, uint64_t memory_bytes, uint64_t list_bytes) {
  if (list_bytes < kListHeaderBytes) return bad_overlay("longer than the memory");
  wire::Bytes bytes(kListHeaderBytes);
  if (auto ok = sys::pread_full(fd, bytes, memory_bytes); !ok) return base::fail(ok.error());
  const auto header = decode_list_header(bytes);
  if (!header) return base::fail(header.error());
  bytes.resize(header->runs * kListedRunBytes);
  if (list_bytes != kListHeaderBytes + bytes.size()) return bad_overlay("its page list was cut");
  if (auto ok = sys::pread_full(fd, bytes, memory_bytes + kListHeaderBytes); !ok) {
    return base::fail(ok.error());
  }
  if (crc32c(bytes) != header->checksum) return bad_overlay("its page list is damaged");
  PageRuns runs(memory_bytes / kPageBytes);
  wire::ByteReader in(bytes);
  for (uint32_t i = 0; i < header->runs; ++i) {
    const auto first_page = in.get<uint64_t>();
    const auto pages = in.get<uint32_t>();
    if (!runs.append(first_page, pages)) return bad_overlay("a bad run in its page list");
  }
  return runs;
}

Result<PageRuns> find_data(int fd, uint64_t memory_bytes) {
  PageRuns runs(memory_bytes / kPageBytes);
  const auto add = [&runs](uint64_t offset, uint64_t length) -> Result<void> {
    // Half a page of data would hide, and half a hole would show, what is below.
    if (offset % kPageBytes != 0 || length % kPageBytes != 0) return bad_overlay("holes in a page");
    if (runs.size() == kMaxOverlayRuns) return bad_overlay("too many pieces");
    if (runs.append(offset / kPageBytes, length / kPageBytes)) return {};
    return bad_overlay("it changes");
  };
  if (auto ok = sys::for_each_data_range(fd, add); !ok) return base::fail(ok.error());
  return runs;
}

}  // namespace

Result<void> append_page_list(int overlay_fd, uint64_t memory_bytes, const PageRuns& runs) {
  if (runs.size() > kMaxOverlayRuns) {
    return base::fail(ErrorCode::invalid_argument, "memory overlay: too many pieces");
  }
  wire::ByteWriter list;
  for (size_t i = 0; i < runs.size(); ++i) {
    list.put(runs[i].first_page);
    list.put(runs[i].pages);
  }
  wire::ByteWriter out;
  out.put_bytes(wire::as_bytes(kListMagic));
  out.put(kListVersion);
  out.put(static_cast<uint32_t>(runs.size()));
  out.put(crc32c(list.bytes()));
  out.put(crc32c(out.bytes()));
  out.put_bytes(list.bytes());
  return sys::pwrite_full(overlay_fd, out.bytes(), memory_bytes);
}

Result<PageRuns> read_page_runs(int overlay_fd, uint64_t memory_bytes) {
  if (auto ok = sys::check_regular_file(overlay_fd, "memory overlay"); !ok) {
    return bad_overlay("not a regular file");
  }
  const auto size = sys::file_size(overlay_fd);
  if (!size) return base::fail(size.error());
  if (*size < memory_bytes) {
    return bad_overlay(std::to_string(*size) + " bytes, the machine has " +
                       std::to_string(memory_bytes));
  }
  if (*size == memory_bytes) return find_data(overlay_fd, memory_bytes);
  return read_list(overlay_fd, memory_bytes, *size - memory_bytes);
}

}  // namespace microvm::state
