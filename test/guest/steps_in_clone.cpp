#include "steps_in_clone.hpp"

#include "fixture.hpp"
#include "host/image/builder.hpp"

namespace guest_test {

using namespace microvm;

namespace {

template <class T>
T required(Result<T> result) {
  REQUIRE_MESSAGE(result, why(result));
  return std::move(*result);
}

std::shared_ptr<host::WorkerHost> make_host() {
  runtime();
  return std::make_shared<host::WorkerHost>(required(host::Store::open(data_dir())),
                                            required(host::Reactor::create()), 0);
}

}  // namespace

StepsInClone::StepsInClone()
    : host_(make_host()), clones_(host_), image_(required(host_->store.open_image("counter"))) {}

Result<std::unique_ptr<host::BuildGuest>> StepsInClone::boot(const host::BuildMachine& machine,
                                                             const CallLimits& limits) {
  host::BuildMachine clone = machine;
  for (const auto& layer : image_.manifest.layers) {
    clone.read_only_layers.push_back(image_.path(layer));
  }
  return clones_.restore(
      clone, {image_.path(image_.manifest.memory), image_.path(image_.manifest.state)}, limits);
}

Result<std::unique_ptr<host::BuildGuest>> StepsInClone::restore(const host::BuildMachine&,
                                                                const host::SnapshotFiles&,
                                                                const CallLimits&) {
  return base::fail(ErrorCode::internal, "the build has gone on after its steps");
}

Result<ImageInfo> StepsInClone::build(BuildOptions options, const CallLimits& limits) {
  options.memory_bytes = kGuestMemory;
  return host::build_image(host_->store, *this, options, limits);
}

}  // namespace guest_test
