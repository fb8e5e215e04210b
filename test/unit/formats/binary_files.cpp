#include <doctest/doctest.h>

#include "format.hpp"
#include "state/crc32c.hpp"
#include "state/exit_record.hpp"
#include "state/frames.hpp"
#include "state/kept_logs.hpp"
#include "state/memory_file.hpp"
#include "state/overlay.hpp"
#include "state/pages.hpp"
#include "state/sections.hpp"
#include "state/working_set.hpp"
#include "unit/state/memory_image.hpp"
#include "unit/vmm/memory_file.hpp"
#include "vmm/disk/layer_file.hpp"

namespace microvm::test {
namespace {

using state::test::content_of;
using state::test::empty_file;

constexpr size_t kVersionAt = 8;  // behind the magic, in all of them
constexpr size_t kMemoryBytes = 3 * state::kMinFrameBytes;

template <class T>
T must(Result<T> result) {
  REQUIRE_MESSAGE(result.has_value(), (result ? "" : result.error().message));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

template <class T>
void put_at(wire::Bytes& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

// With another version in its header, whose sum stands behind `header_bytes`.
std::function<wire::Bytes(uint32_t)> header_version(const wire::Bytes& good, size_t header_bytes) {
  return [=](uint32_t version) {
    wire::Bytes bytes = good;
    put_at(bytes, kVersionAt, version);
    put_at(bytes, header_bytes, state::crc32c(wire::ByteView(bytes).first(header_bytes)));
    return bytes;
  };
}

// ---- state files -------------------------------------------------------------------------------

enum class Unknown : uint8_t { none, section };

wire::Bytes state_file(uint16_t vcpu_version, Unknown unknown = Unknown::none) {
  state::Writer out;
  if (unknown == Unknown::section) out.add(state::SectionId{1000}, 0, 9, wire::Bytes(3));
  out.add(state::SectionId::vcpu, 3, vcpu_version, wire::Bytes(40, std::byte{7}));
  out.add(state::SectionId::clock, 0, 1, wire::Bytes(8, std::byte{1}));
  return out.finish();
}

Result<wire::Bytes> read_state(wire::ByteView bytes) {
  const auto in = state::Reader::parse(bytes);
  if (!in) return base::fail(in.error());
  state::Writer out;
  for (const auto& [id, instance] :
       {std::pair(state::SectionId::vcpu, 3u), std::pair(state::SectionId::clock, 0u)}) {
    const auto section = in->find(id, instance, 1);
    if (!section) return base::fail(section.error());
    out.add(id, instance, section->version, {section->body.begin(), section->body.end()});
  }
  return out.finish();
}

Format state_header() {
  const auto good = state_file(1);
  return {.name = "state file",
          .good = good,
          .read = read_state,
          .summed = true,
          .with_version = header_version(good, 16),
          .newest = state::kFormatVersion,
          .named = "state file: version"};
}

Format state_section() {
  return {
      .name = "state file, section",
      .good = state_file(1),
      .read = read_state,
      .summed = true,
      .with_version = [](uint32_t version) { return state_file(static_cast<uint16_t>(version)); },
      .newest = 1,
      .named = "state file: section vcpu 3: version",
      .with_more = state_file(1, Unknown::section)};
}

Format working_set() {
  const auto read = [](wire::ByteView bytes) -> Result<wire::Bytes> {
    const auto set = state::parse_working_set(bytes, kMemoryBytes);
    if (!set) return base::fail(set.error());
    return state::encode_working_set(*set);
  };
  const auto good = state::encode_working_set({kMemoryBytes, {{0, 1}, {2, 5}}, {{7, 3}}});
  const auto with_version = [good](uint32_t version) {
    const auto in = state::Reader::parse(good);
    const auto body = in->find(state::SectionId::working_set, 0, 1)->body;
    state::Writer out;
    out.add(state::SectionId::working_set, 0, static_cast<uint16_t>(version),
            {body.begin(), body.end()});
    return out.finish();
  };
  return {.name = "working set",
          .good = good,
          .read = read,
          .summed = true,
          .with_version = with_version,
          .newest = 1,
          .named = "state file: section working set 0: version"};
}

// Of another version, or with `surplus` bytes in its body, its sum right.
wire::Bytes exit_file(uint32_t version, size_t surplus = 0) {
  constexpr size_t kMagicBytes = 8;
  constexpr size_t kHeaderBytes = 16;
  wire::ExitEvent event;
  event.reason = wire::ExitEvent::Reason::panic;
  event.detail = "no init";
  const auto good = state::encode_exit_record(event);
  const auto body = wire::ByteView(good).subspan(kHeaderBytes, good.size() - kHeaderBytes - 4);
  wire::ByteWriter out;
  out.put_bytes(wire::ByteView(good).first(kMagicBytes));
  out.put(version);
  out.put(static_cast<uint32_t>(body.size() + surplus));
  out.put_bytes(body);
  out.put_bytes(wire::Bytes(surplus));
  out.put(state::crc32c(out.bytes()));
  return out.take();
}

Format exit_record() {
  return {.name = "exit record",
          .good = exit_file(state::kExitRecordVersion),
          .read = [](wire::ByteView bytes) -> Result<wire::Bytes> {
            const auto event = state::decode_exit_record(bytes);
            if (!event) return base::fail(event.error());
            return state::encode_exit_record(*event);
          },
          .summed = true,
          .with_version = [](uint32_t version) { return exit_file(version); },
          .newest = state::kExitRecordVersion,
          .named = "exit record: version",
          .with_more = exit_file(state::kExitRecordVersion, 12)};
}

// A header of another version, or with `surplus` bytes in its body, its sum right.
wire::Bytes kept_logs_header(uint32_t version, size_t surplus = 0) {
  constexpr size_t kHeadBytes = 16;
  state::KeptLogs logs{.turn = 3};
  logs.logs[1] = {.begin = 5, .end = 500, .at = 17, .text_written_ns = 1};
  const auto good = state::encode_kept_logs(logs);
  const auto body = wire::ByteView(good).subspan(kHeadBytes, good.size() - kHeadBytes - 4);
  wire::ByteWriter out;
  out.put_bytes(wire::ByteView(good).first(8));
  out.put(version);
  out.put(static_cast<uint32_t>(body.size() + surplus));
  out.put_bytes(body);
  out.put_bytes(wire::Bytes(surplus));
  out.put(state::crc32c(out.bytes()));
  return out.take();
}

Format kept_logs() {
  return {.name = "kept logs",
          .good = kept_logs_header(state::kKeptLogsVersion),
          .read = [](wire::ByteView bytes) -> Result<wire::Bytes> {
            const auto logs = state::decode_kept_logs(bytes);
            if (!logs) return base::fail(logs.error());
            return state::encode_kept_logs(*logs);
          },
          .summed = true,
          .with_version = [](uint32_t version) { return kept_logs_header(version); },
          .newest = state::kKeptLogsVersion,
          .named = "kept logs: version",
          .with_more = kept_logs_header(state::kKeptLogsVersion, 12)};
}

// ---- memory at rest ----------------------------------------------------------------------------

// Two frames with data, one of zeros.
base::Fd raw_memory() {
  auto raw = empty_file();
  must(state::make_sparse(raw.get(), kMemoryBytes));
  must(sys::pwrite_full(raw.get(), wire::Bytes(state::kPageBytes, std::byte{'x'}), 0));
  must(sys::pwrite_full(raw.get(), wire::Bytes(state::kPageBytes, std::byte{'y'}),
                        kMemoryBytes - state::kPageBytes));
  return raw;
}

wire::Bytes packed_memory(int raw) {
  const auto packed = empty_file();
  must(state::pack_memory(raw, packed.get(), {.frame_bytes = state::kMinFrameBytes}));
  return content_of(packed.get());
}

Format memory() {
  const auto read = [](wire::ByteView bytes) -> Result<wire::Bytes> {
    const auto raw = empty_file();
    const auto size = state::unpack_memory(file_with(bytes).get(), raw.get());
    if (!size) return base::fail(size.error());
    return packed_memory(raw.get());
  };
  const auto good = packed_memory(raw_memory().get());
  return {.name = "packed memory",
          .good = good,
          .read = read,
          .summed = true,
          .with_version = header_version(good, 36),
          .newest = 1,
          .named = "packed memory: version"};
}

wire::Bytes packed_pages(int overlay) {
  const auto packed = empty_file();
  must(state::pack_pages(overlay, packed.get(), {.frame_bytes = state::kMinFrameBytes}));
  return content_of(packed.get());
}

Format pages() {
  const auto read = [](wire::ByteView bytes) -> Result<wire::Bytes> {
    const auto overlay = empty_file();
    must(state::make_sparse(overlay.get(), kMemoryBytes));
    const auto count = state::unpack_pages(file_with(bytes).get(), overlay.get(), kMemoryBytes);
    if (!count) return base::fail(count.error());
    return packed_pages(overlay.get());
  };
  const auto good = packed_pages(raw_memory().get());
  return {.name = "packed pages",
          .good = good,
          .read = read,
          .summed = true,
          .with_version = header_version(good, 48),
          .newest = 1,
          .named = "packed pages: version"};
}

// The list behind the pages of an overlay.
Format page_list() {
  constexpr uint64_t kMemory = 8 * state::kPageBytes;
  const auto list_of = [](const state::PageRuns& runs) {
    const auto overlay = empty_file();
    must(state::make_sparse(overlay.get(), kMemory));
    must(state::append_page_list(overlay.get(), kMemory, runs));
    const auto bytes = content_of(overlay.get());
    return wire::Bytes(bytes.begin() + kMemory, bytes.end());
  };
  const auto read = [=](wire::ByteView bytes) -> Result<wire::Bytes> {
    const auto overlay = empty_file();
    must(state::make_sparse(overlay.get(), kMemory));
    must(sys::pwrite_full(overlay.get(), bytes, kMemory));
    // Nothing behind the pages is no list.
    if (bytes.empty()) return base::fail(ErrorCode::corrupt, "memory overlay: no page list");
    const auto runs = state::read_page_runs(overlay.get(), kMemory);
    if (!runs) return base::fail(runs.error());
    return list_of(*runs);
  };
  state::PageRuns runs(kMemory / state::kPageBytes);
  CHECK(runs.append(1, 2));
  CHECK(runs.append(7, 1));
  const auto good = list_of(runs);
  return {.name = "page list of an overlay",
          .good = good,
          .read = read,
          .summed = true,
          .with_version = header_version(good, 20),
          .newest = 1,
          .named = "memory overlay: version"};
}

// ---- disk layers -------------------------------------------------------------------------------

constexpr uint64_t kDiskBytes = 8 * 4096;
constexpr size_t kLayerHeaderBytes = 32;

// The header, the map and, as the layer has no sums for it, no data.
wire::Bytes layer_bytes(vmm::LayerFile& layer) {
  wire::Bytes bytes = layer.header.encode();
  const auto map = layer.map.storage();
  bytes.insert(bytes.end(), map.begin(), map.end());
  bytes.resize(layer.data_offset + layer.header.virtual_bytes);
  return bytes;
}

// Its data is not read when it is opened, and too much to write for each flipped bit.
base::Fd layer_file(wire::ByteView bytes, size_t map_end) {
  auto file = file_with(bytes.first(std::min(bytes.size(), map_end)));
  REQUIRE(::ftruncate(file.get(), static_cast<off_t>(bytes.size())) == 0);
  return file;
}

Format layer() {
  const size_t map_end =
      vmm::kLayerMapOffset + vmm::AllocationMap::bytes_for(kDiskBytes / vmm::kMinGranuleBytes);
  const auto read = [=](wire::ByteView bytes) -> Result<wire::Bytes> {
    auto layer = vmm::LayerFile::open(layer_file(bytes, map_end), bytes.size(), std::nullopt);
    if (!layer) return base::fail(layer.error());
    return layer_bytes(*layer);
  };
  const vmm::LayerHeader header{.virtual_bytes = kDiskBytes, .lower_bytes = kDiskBytes};
  auto made = must(vmm::LayerFile::format(empty_file(), header));
  made.map.set(1, 2);
  wire::Bytes good = layer_bytes(made);
  for (const auto& patch : made.map.take_changes()) {
    std::ranges::copy(patch.bytes, good.begin() + static_cast<std::ptrdiff_t>(vmm::kLayerMapOffset +
                                                                              patch.offset));
  }
  return {.name = "disk layer",
          .good = good,
          .read = read,
          .summed = true,
          .unsummed = {{kLayerHeaderBytes + 4, vmm::kLayerMapOffset}, {map_end, good.size()}},
          .with_version = header_version(good, kLayerHeaderBytes),
          .newest = 1,
          .named = "disk layer: version"};
}

}  // namespace

std::vector<Format> binary_files() {
  return {state_header(), state_section(), working_set(), exit_record(), kept_logs(),
          memory(),       pages(),         page_list(),   layer()};
}

}  // namespace microvm::test
