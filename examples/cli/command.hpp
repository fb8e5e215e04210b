// What every command of the CLI gets and the table of them.
#pragma once

#include <string>
#include <vector>

#include "microvm/runtime.hpp"

namespace cli {

// Exit codes besides a guest program's own; the help texts name them.
inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;
inline constexpr int kMicrovmFailed = 125;  // run, exec, shell: it was not the guest's program

using Arguments = std::vector<std::string>;

struct Context {
  microvm::RuntimeOptions runtime;
  const microvm::CancelToken* cancel = nullptr;  // Ctrl-C

  [[nodiscard]] microvm::CallLimits limits() const { return {cancel, {}}; }
};

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const Context& context, const Arguments& arguments);
};

int doctor(const Context& context, const Arguments& arguments);
int kernel(const Context& context, const Arguments& arguments);
int base(const Context& context, const Arguments& arguments);
int image(const Context& context, const Arguments& arguments);
int run(const Context& context, const Arguments& arguments);
int ps(const Context& context, const Arguments& arguments);
int exec(const Context& context, const Arguments& arguments);
int shell(const Context& context, const Arguments& arguments);
int cp(const Context& context, const Arguments& arguments);
int logs(const Context& context, const Arguments& arguments);
int network(const Context& context, const Arguments& arguments);
int port(const Context& context, const Arguments& arguments);
int suspend(const Context& context, const Arguments& arguments);
int resume(const Context& context, const Arguments& arguments);
int fork(const Context& context, const Arguments& arguments);
int checkpoint(const Context& context, const Arguments& arguments);
int rollback(const Context& context, const Arguments& arguments);
int commit(const Context& context, const Arguments& arguments);
int events(const Context& context, const Arguments& arguments);
int wait(const Context& context, const Arguments& arguments);
int stats(const Context& context, const Arguments& arguments);
int rm(const Context& context, const Arguments& arguments);
int prune(const Context& context, const Arguments& arguments);
int inspect(const Context& context, const Arguments& arguments);

}  // namespace cli
