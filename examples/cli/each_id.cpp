#include "each_id.hpp"

#include "output.hpp"

namespace cli {

int for_each_id(const Context& context, const Arguments& ids,
                const std::function<int(microvm::Runtime&, const std::string&)>& one) {
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  int code = kOk;
  for (const std::string& id : ids) {
    if (one(*runtime, id) != kOk) code = kFailed;
    if (context.cancel->cancelled()) return kFailed;
  }
  return code;
}

void add_force(OptionParser& parser) {
  parser.flag("f,force", "One that is not there is no failure");
}

int fail_removal(const microvm::Error& error, bool force) {
  const int code = fail(error);
  return force && error.code == microvm::ErrorCode::not_found ? kOk : code;
}

}  // namespace cli
