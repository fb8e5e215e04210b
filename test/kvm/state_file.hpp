// The sections of a state file, to be looked at and exchanged; the checksums come out right.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <string>

#include "state/sections.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm::test {

inline constexpr size_t kStateHeaderBytes = 20;
inline constexpr size_t kSectionHeaderBytes = 20;

inline void for_each_section(const std::string& state,
                             const std::function<void(const state::Section&)>& visit) {
  const auto bytes = wire::as_bytes(state);
  for (size_t at = kStateHeaderBytes; at < bytes.size();) {
    wire::ByteReader in(bytes.subspan(at, kSectionHeaderBytes));
    state::Section section;
    section.id = static_cast<state::SectionId>(in.get<uint32_t>());
    section.instance = in.get<uint32_t>();
    section.version = in.get<uint16_t>();
    in.get<uint16_t>();
    const auto length = in.get<uint32_t>();
    section.body = bytes.subspan(at + kSectionHeaderBytes, length);
    visit(section);
    at += kSectionHeaderBytes + length;
  }
}

// The file with each body that `change` returns in place of the one it is given.
inline std::string with_sections(const std::string& state,
                                 const std::function<wire::Bytes(const state::Section&)>& change) {
  state::Writer out;
  for_each_section(state, [&](const state::Section& section) {
    out.add(section.id, section.instance, section.version, change(section));
  });
  return std::string(wire::as_text(out.finish()));
}

// With this section, whether there is one or not.
inline std::string with_section(const std::string& state, state::SectionId id, uint16_t version,
                                wire::Bytes body) {
  state::Writer out;
  for_each_section(state, [&](const state::Section& section) {
    if (section.id == id) return;
    out.add(section.id, section.instance, section.version,
            {section.body.begin(), section.body.end()});
  });
  out.add(id, 0, version, std::move(body));
  return std::string(wire::as_text(out.finish()));
}

// With the one body exchanged.
inline std::string with_body(const std::string& state, state::SectionId id, uint32_t instance,
                             const wire::Bytes& body) {
  return with_sections(state, [&](const state::Section& section) {
    if (section.id == id && section.instance == instance) return body;
    return wire::Bytes(section.body.begin(), section.body.end());
  });
}

inline wire::Bytes body_of(const std::string& state, state::SectionId id, uint32_t instance = 0) {
  const auto reader = state::Reader::parse(wire::as_bytes(state));
  REQUIRE(reader);
  const auto section = reader->find(id, instance, UINT16_MAX);
  REQUIRE(section);
  return {section->body.begin(), section->body.end()};
}

}  // namespace microvm::vmm::test
