// Kernels and images of a store with made-up content.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "host/store/digest.hpp"
#include "host/store/store.hpp"

namespace microvm::test {

inline std::string digest_of(const std::string& text) {
  return host::sha256_hex(std::as_bytes(std::span(text)));
}

// Its digest is that of its name.
inline void add_kernel(const host::Store& store, const std::string& name) {
  auto entry = store.new_entry();
  REQUIRE(entry);
  REQUIRE(entry->write_file("vmlinux", name));
  const auto digest = digest_of(name);
  REQUIRE(store.commit_kernel(
      std::move(*entry),
      {{name, digest, name.size()}, 1, {"vmlinux", name.size(), name.size(), digest}, {}}));
}

inline void add_image(const host::Store& store, const std::string& name,
                      const std::string& kernel_digest, const std::string& base_digest,
                      size_t memory_bytes) {
  auto entry = store.new_entry();
  REQUIRE(entry);
  REQUIRE(entry->write_file("memory.raw", std::string(memory_bytes, 'm')));
  host::ImageManifest manifest;
  manifest.info.name = name;
  manifest.info.vcpus = 1;
  manifest.kernel_digest = kernel_digest;
  manifest.base_digest = base_digest;
  manifest.memory = {"memory.raw", memory_bytes, memory_bytes, {}};
  manifest.state = {"state.bin", 1, 1, digest_of("s")};
  REQUIRE(store.commit_image(std::move(*entry), manifest));
}

}  // namespace microvm::test
