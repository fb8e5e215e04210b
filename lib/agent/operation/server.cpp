#include "agent/operation/server.hpp"

#include <atomic>

#include "agent/base/kernel_log.hpp"
#include "agent/base/thread.hpp"
#include "agent/base/time.hpp"
#include "agent/link/channel.hpp"
#include "agent/link/vsock.hpp"
#include "agent/operation/operation.hpp"

namespace microvm::agent {
namespace {

constexpr int64_t kAcceptPauseMs = 10;

class OperationCount {
 public:
  [[nodiscard]] bool take() {
    if (running_.fetch_add(1) < kMaxOperations) return true;
    give_back();
    return false;
  }
  void give_back() { running_.fetch_sub(1); }

 private:
  std::atomic<int> running_{0};
};

// The reply is small and the connection new, so it does not block.
void refuse(base::Fd connection, Failed failure) {
  Channel(std::move(connection)).send_failure(failure);
}

void start_operation(Guest& guest, OperationCount& count, base::Fd connection) {
  if (!count.take())
    return refuse(std::move(connection),
                  {EAGAIN, std::to_string(kMaxOperations) + " operations are running already"});
  const int fd = connection.release();
  const int error = start_thread([&guest, &count, fd] {
    serve_operation(guest, base::Fd(fd));
    count.give_back();
  });
  if (error == 0) return;
  count.give_back();
  refuse(base::Fd(fd), {error, "no thread for the operation: " + error_text(error)});
}

}  // namespace

void serve_operations(Guest& guest, base::Fd listener) {
  OperationCount count;
  for (;;) {
    base::Fd connection = accept_host(listener.get());
    if (connection)
      start_operation(guest, count, std::move(connection));
    else
      sleep_ms(kAcceptPauseMs);  // out of descriptors or memory: some come back
  }
}

}  // namespace microvm::agent
