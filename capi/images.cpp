// mvm_runtime: images.
#include "infos.hpp"
#include "options.hpp"

using microvm::capi::Call;
using microvm::capi::enter;

namespace microvm::capi {
namespace {

std::map<std::string, std::string> build_args(const Call& call, const mvm_build_options& given) {
  std::map<std::string, std::string> args;
  for (const std::string& arg :
       call.texts(given.build_args, given.build_args_count, "build_args")) {
    const size_t at = arg.find('=');
    if (at == std::string::npos) call.refuse("build_args has \"" + arg + "\", no NAME=value");
    args[arg.substr(0, at)] = arg.substr(at + 1);
  }
  return args;
}

}  // namespace

BuildOptions to_cpp(const Call& call, const mvm_build_options& given) {
  BuildOptions options;
  options.context = Call::text_or_empty(given.context);
  options.dockerfile = Call::text_or_empty(given.dockerfile);
  options.tag = Call::text_or_empty(given.tag);
  options.build_args = build_args(call, given);
  options.kernel = Call::text_or_empty(given.kernel);
  set_unless_zero(options.memory_bytes, given.memory_bytes);
  set_unless_zero(options.vcpus, given.vcpus);
  options.ready_port = call.small(given.ready_port, "ready_port");
  options.ready_timeout =
      call.time(given.ready_timeout_ms, options.ready_timeout, "ready_timeout_ms");
  options.hooks = call.options(given.hooks);
  options.progress = progress_sink(given.progress, given.progress_user);
  options.network = call.options(given.network);
  options.host_proxy = given.host_proxy != 0;
  return options;
}

PackOptions to_cpp(const Call& /*call*/, const mvm_pack_options& given) {
  return {.progress = progress_sink(given.progress, given.progress_user)};
}

}  // namespace microvm::capi

mvm_status mvm_runtime_build(mvm_runtime* runtime, const mvm_build_options* options,
                             const mvm_limits* limits, mvm_image_info** out_or_null,
                             mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(runtime)->build(call.needed_options(options), call.limits(limits)));
  });
}

mvm_status mvm_runtime_images(mvm_runtime* runtime, const mvm_limits* limits, mvm_image_list** out,
                              mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(runtime)->images(call.limits(limits)));
  });
}

mvm_status mvm_runtime_image(mvm_runtime* runtime, const char* reference, const mvm_limits* limits,
                             mvm_image_info** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(
        call.use(runtime)->image(call.text(reference, "reference"), call.limits(limits)));
  });
}

mvm_status mvm_runtime_remove_image(mvm_runtime* runtime, const char* reference,
                                    const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(runtime)->remove_image(call.text(reference, "reference"), call.limits(limits));
  });
}

mvm_status mvm_runtime_pack_image(mvm_runtime* runtime, const char* reference,
                                  const mvm_pack_options* options, const mvm_limits* limits,
                                  mvm_image_info** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(runtime)->pack_image(call.text(reference, "reference"),
                                            call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_runtime_unpack_image(mvm_runtime* runtime, const char* reference,
                                    const mvm_pack_options* options, const mvm_limits* limits,
                                    mvm_image_info** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(runtime)->unpack_image(call.text(reference, "reference"),
                                              call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_runtime_warm(mvm_runtime* runtime, const char* image, uint32_t count,
                            const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(runtime)->warm(call.text(image, "image"), count, call.limits(limits));
  });
}
