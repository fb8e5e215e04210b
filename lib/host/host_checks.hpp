// What the kernel tells of a host, judged: one row of a table for each thing.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "host/network/user_network.hpp"
#include "microvm/probe.hpp"

namespace microvm::host {

// The files of /proc and /sys, below a root that a test replaces, and what only calls can tell.
class HostView {
 public:
  explicit HostView(std::filesystem::path root = "/") : root_(std::move(root)) {}

  // A file's text without blanks at its end; empty when it is not there or can not be read.
  [[nodiscard]] std::optional<std::string> read(const std::string& path) const;
  [[nodiscard]] std::optional<uint64_t> read_number(const std::string& path) const;
  // "6.1" → 601; 0 when it is not known.
  [[nodiscard]] unsigned kernel_version() const;
  // The names in a directory, sorted.
  [[nodiscard]] std::vector<std::string> list(const std::string& path) const;
  // The first value after a key at the beginning of a line: "MemTotal:" in /proc/meminfo.
  [[nodiscard]] std::string field(const std::string& path, const std::string& key) const;

  std::string machine = "x86_64";
  int io_uring_error = 0;  // errno of its set-up
  bool has_pagemap_scan = true;
  UserNetworkTrial user_network;
  std::string program = "/path/of/the/program";  // that would need a profile of AppArmor
  std::optional<double> vm_creation_ms;          // of KVM_CREATE_VM, the median of some
  // Of the file system of the data directory; empty: there is none.
  std::string data_file_system;
  std::optional<uint64_t> data_free_bytes;

 private:
  std::filesystem::path root_;
};

// In the order of the table.
[[nodiscard]] std::vector<Finding> check_host(const HostView& host);

// What a report says of the machine.
void describe_host(const HostView& host, DeepReport& report);

}  // namespace microvm::host
