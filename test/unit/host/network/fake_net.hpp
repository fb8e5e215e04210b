// A microvm-net that flows through nothing: it listens in a directory and answers as told.
#pragma once

#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "wire/net.hpp"

namespace microvm::test {

class FakeNet {
 public:
  explicit FakeNet(const std::filesystem::path& vm_dir);
  ~FakeNet();
  FakeNet(const FakeNet&) = delete;
  FakeNet& operator=(const FakeNet&) = delete;

  // To all that follow the flows.
  void tell(const wire::FlowRecord& record);
  [[nodiscard]] bool wait_for_followers(size_t count) const;
  [[nodiscard]] std::optional<wire::NetworkSetup> setup() const;
  // What it says to everything from now on, instead of an answer; nothing: it says nothing.
  void answer_with(std::optional<wire::Bytes> bytes);

  wire::NetStatus status;

 private:
  void serve();
  void answer(int socket);

  const std::filesystem::path socket_path_;
  base::Fd listener_;
  base::Fd wake_;
  mutable std::mutex mutex_;
  std::vector<base::Fd> connections_;
  std::vector<int> followers_;
  std::optional<wire::NetworkSetup> setup_;
  bool answers_ = true;
  std::optional<wire::Bytes> fixed_;
  std::jthread thread_;
};

}  // namespace microvm::test
