#include "handle.hpp"

namespace microvm::python {

namespace {

std::vector<std::weak_ptr<Family>>& families() {
  static auto* const families = new std::vector<std::weak_ptr<Family>>;
  return *families;
}

}  // namespace

// Closing lets other threads run, which may take members away or add some.
void Family::close() {
  closed_ = true;
  while (!members_.empty()) {
    Closable* member = members_.back();
    members_.pop_back();
    member->close();
  }
}

void close_families() {
  for (const auto& known : std::exchange(families(), {})) {
    if (const auto family = known.lock()) family->close();
  }
}

std::shared_ptr<Family> make_family() {
  std::erase_if(families(), [](const auto& known) { return known.expired(); });
  auto family = std::make_shared<Family>();
  families().push_back(family);
  return family;
}

void fail_closed(const char* what) {
  fail(ErrorCode::invalid_argument, what == nullptr ? "the object was never made: call its class"
                                                    : std::string(what) + " is closed");
}

void fail_forked(const char* what) {
  if (what == nullptr) fail_closed(what);
  fail(ErrorCode::unsupported,
       std::string(what) +
           " was made before a fork, by another process: open a Runtime in this one");
}

}  // namespace microvm::python
