#include "state/working_set.hpp"

#include "state/sections.hpp"

namespace microvm::state {
namespace {

constexpr uint16_t kVersion = 1;

base::Failure corrupt(const char* why) {
  return base::fail(ErrorCode::corrupt, std::string("working set: ") + why);
}

void put_ranges(wire::ByteWriter& out, const std::vector<PageSpan>& ranges) {
  for (const PageSpan& range : ranges) {
    out.put(range.first);
    out.put(range.pages);
  }
}

// Each after the end of the one before and inside `memory_pages`.
bool get_ranges(wire::ByteReader& in, uint32_t count, uint64_t memory_pages,
                std::vector<PageSpan>& ranges) {
  ranges.reserve(count);
  uint64_t end = 0;
  for (uint32_t i = 0; i < count; ++i) {
    PageSpan range;
    range.first = in.get<uint32_t>();
    range.pages = in.get<uint32_t>();
    if (!in.ok() || range.pages == 0 || range.first < end) return false;
    end = uint64_t{range.first} + range.pages;
    if (end > memory_pages) return false;
    ranges.push_back(range);
  }
  return true;
}

Result<WorkingSet> parse_body(wire::ByteView body, uint64_t memory_bytes) {
  wire::ByteReader in(body);
  WorkingSet set;
  set.memory_bytes = in.get<uint64_t>();
  const auto written = in.get<uint32_t>();
  const auto read = in.get<uint32_t>();
  if (!in.ok()) return corrupt("the body is cut off");
  if (set.memory_bytes != memory_bytes) return corrupt("it is of another memory");
  if (written > kMaxWorkingSetRanges || read > kMaxWorkingSetRanges - written) {
    return corrupt("it has too many ranges");
  }
  const uint64_t pages = memory_bytes / kWorkingSetPage;
  if (!get_ranges(in, written, pages, set.written) || !get_ranges(in, read, pages, set.read) ||
      !in.done()) {
    return corrupt("its ranges are not in order or not in the memory");
  }
  return set;
}

}  // namespace

wire::Bytes encode_working_set(const WorkingSet& set) {
  wire::ByteWriter body;
  body.put(set.memory_bytes);
  body.put(static_cast<uint32_t>(set.written.size()));
  body.put(static_cast<uint32_t>(set.read.size()));
  put_ranges(body, set.written);
  put_ranges(body, set.read);
  Writer out;
  out.add(SectionId::working_set, 0, kVersion, body.take());
  return out.finish();
}

Result<WorkingSet> parse_working_set(wire::ByteView bytes, uint64_t memory_bytes) {
  if (bytes.size() > kMaxWorkingSetBytes) return corrupt("the file is too long");
  const auto in = Reader::parse(bytes);
  if (!in) return base::fail(in.error());
  const auto section = in->find(SectionId::working_set, 0, kVersion);
  if (!section) return base::fail(section.error());
  return parse_body(section->body, memory_bytes);
}

}  // namespace microvm::state
