#include "state/sections.hpp"

#include <algorithm>
#include <cassert>
#include <string>

#include "state/crc32c.hpp"
#include "state/format_version.hpp"

namespace microvm::state {
namespace {

constexpr std::string_view kMagic = "MVMSTATE";
constexpr size_t kHeaderBytes = 20;         // with its checksum
constexpr size_t kSectionHeaderBytes = 20;  // with the body's checksum

base::Failure corrupt(std::string what) {
  return base::fail(ErrorCode::corrupt, "state file: " + std::move(what));
}

const char* name_of(SectionId id) {
  switch (id) {
    case SectionId::machine:
      return "machine";
    case SectionId::vcpu:
      return "vcpu";
    case SectionId::cpuid:
      return "cpuid";
    case SectionId::interrupt_chips:
      return "interrupt chips";
    case SectionId::clock:
      return "clock";
    case SectionId::serial:
      return "serial";
    case SectionId::platform:
      return "platform";
    case SectionId::virtio_transport:
      return "virtio transport";
    case SectionId::virtio_pci:
      return "virtio pci";
    case SectionId::virtio_block:
      return "virtio block";
    case SectionId::virtio_vsock:
      return "virtio vsock";
    case SectionId::virtio_rng:
      return "virtio rng";
    case SectionId::cpu_capabilities:
      return "cpu capabilities";
    case SectionId::virtio_devices:
      return "virtio device";
    case SectionId::working_set:
      return "working set";
  }
  return "unknown";
}

// "section vcpu 3"
std::string name_of(SectionId id, uint32_t instance) {
  return std::string("section ") + name_of(id) + " " + std::to_string(instance);
}

// The number of sections the header announces.
Result<uint32_t> parse_header(wire::ByteView bytes) {
  if (bytes.size() < kHeaderBytes) return corrupt("shorter than its header");
  wire::ByteReader in(bytes.first(kHeaderBytes));
  if (wire::as_text(in.get_bytes(kMagic.size())) != kMagic) return corrupt("not a state file");
  const auto version = in.get<uint32_t>();
  const auto count = in.get<uint32_t>();
  if (in.get<uint32_t>() != crc32c(bytes.first(kHeaderBytes - sizeof(uint32_t)))) {
    return corrupt("header checksum is wrong");
  }
  if (auto ok = check_version("state file", version, kFormatVersion); !ok) {
    return base::fail(ok.error());
  }
  if (count > kMaxSections) return corrupt(std::to_string(count) + " sections");
  return count;
}

// The checksum covers the section's header too, so that a flipped id or version is noticed.
uint32_t section_checksum(wire::ByteView header, wire::ByteView body) {
  return crc32c(body, crc32c(header));
}

Result<Section> parse_section(wire::ByteReader& in) {
  const wire::ByteView header = in.get_bytes(kSectionHeaderBytes - sizeof(uint32_t));
  const auto checksum = in.get<uint32_t>();
  if (!in.ok()) return corrupt("ends inside a section header");
  wire::ByteReader fields(header);
  Section section;
  section.id = static_cast<SectionId>(fields.get<uint32_t>());
  section.instance = fields.get<uint32_t>();
  section.version = fields.get<uint16_t>();
  const auto zero = fields.get<uint16_t>();
  const auto length = fields.get<uint32_t>();
  if (zero != 0 || length > kMaxSectionBytes) return corrupt("bad section header");
  section.body = in.get_bytes(length);
  if (!in.ok()) return corrupt("ends inside a section");
  if (section_checksum(header, section.body) != checksum) {
    return corrupt(name_of(section.id, section.instance) + " checksum is wrong");
  }
  return section;
}

auto key_of(const auto& entry) {
  return std::pair(entry.id, entry.instance);
}

}  // namespace

void Writer::add(SectionId id, uint32_t instance, uint16_t version, wire::Bytes body) {
  assert(body.size() <= kMaxSectionBytes && entries_.size() < kMaxSections);
  entries_.push_back({id, instance, version, std::move(body)});
}

wire::Bytes Writer::finish() const {
  wire::ByteWriter out;
  out.put_bytes(wire::as_bytes(kMagic));
  out.put(kFormatVersion);
  out.put(static_cast<uint32_t>(entries_.size()));
  out.put(crc32c(out.bytes()));
  for (const Entry& entry : entries_) {
    wire::ByteWriter header;
    header.put(static_cast<uint32_t>(entry.id));
    header.put(entry.instance);
    header.put(entry.version);
    header.put(uint16_t{0});
    header.put(static_cast<uint32_t>(entry.body.size()));
    out.put_bytes(header.bytes());
    out.put(section_checksum(header.bytes(), entry.body));
    out.put_bytes(entry.body);
  }
  return out.take();
}

Result<Reader> Reader::parse(wire::ByteView bytes) {
  const auto count = parse_header(bytes);
  if (!count) return base::fail(count.error());
  Reader reader;
  reader.sections_.reserve(*count);
  wire::ByteReader in(bytes.subspan(kHeaderBytes));
  for (uint32_t i = 0; i < *count; ++i) {
    auto section = parse_section(in);
    if (!section) return base::fail(section.error());
    reader.sections_.push_back(*section);
  }
  if (!in.done()) return corrupt("bytes after the last section");
  auto& sections = reader.sections_;
  std::ranges::sort(sections, {}, [](const Section& s) { return key_of(s); });
  const auto same = [](const Section& a, const Section& b) { return key_of(a) == key_of(b); };
  if (std::ranges::adjacent_find(sections, same) != sections.end()) {
    return corrupt("a section stands there twice");
  }
  return reader;
}

bool Reader::has(SectionId id, uint32_t instance) const {
  return std::ranges::any_of(
      sections_, [&](const Section& s) { return s.id == id && s.instance == instance; });
}

Result<Section> Reader::find(SectionId id, uint32_t instance, uint16_t max_version) const {
  const auto found = std::ranges::find_if(
      sections_, [&](const Section& s) { return s.id == id && s.instance == instance; });
  if (found == sections_.end()) {
    return corrupt(name_of(id, instance) + " is missing");
  }
  const std::string what = "state file: " + name_of(id, instance);
  if (auto ok = check_version(what, found->version, max_version); !ok) {
    return base::fail(ok.error());
  }
  return *found;
}

}  // namespace microvm::state
