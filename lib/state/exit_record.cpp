#include "state/exit_record.hpp"

#include <string>

#include "state/crc32c.hpp"
#include "state/format_version.hpp"
#include "wire/exit_fields.hpp"
#include "wire/fields.hpp"

namespace microvm::state {
namespace {

constexpr std::string_view kMagic = "MVM-EXIT";
constexpr size_t kHeaderBytes = 8 + 4 + 4;

base::Failure damaged() {
  return base::fail(ErrorCode::corrupt, "the exit record is damaged");
}

Result<wire::ExitEvent> decode_version_1(wire::ByteView bytes) {
  auto envelope = wire::decode(bytes);
  if (!envelope || envelope->version != 1) return damaged();
  auto* exit = std::get_if<wire::ExitEvent>(&envelope->message);
  if (exit == nullptr) return damaged();
  return std::move(*exit);
}

}  // namespace

wire::Bytes encode_exit_record(const wire::ExitEvent& exit) {
  wire::FieldWriter body(wire::Form::growing);
  wire::exit_fields(body, exit);
  const wire::Bytes bytes = body.take();
  wire::ByteWriter out;
  out.put_bytes(wire::as_bytes(kMagic));
  out.put(kExitRecordVersion);
  out.put(static_cast<uint32_t>(bytes.size()));
  out.put_bytes(bytes);
  out.put(crc32c(out.bytes()));
  return out.take();
}

Result<wire::ExitEvent> decode_exit_record(wire::ByteView bytes) {
  wire::ByteReader in(bytes);
  if (wire::as_text(in.get_bytes(kMagic.size())) != kMagic) return decode_version_1(bytes);
  const auto version = in.get<uint32_t>();
  const wire::ByteView body = in.get_bytes(in.get<uint32_t>());
  const auto checksum = in.get<uint32_t>();
  if (!in.ok()) return damaged();
  if (checksum != crc32c(bytes.first(kHeaderBytes + body.size()))) return damaged();
  if (auto ok = check_version("exit record", version, kExitRecordVersion); !ok) {
    return base::fail(ok.error());
  }
  if (version != kExitRecordVersion) return damaged();
  wire::ExitEvent exit;
  wire::FieldReader reader(wire::Form::growing, body);
  wire::exit_fields(reader, exit);
  if (!reader.is_valid()) return damaged();
  return exit;
}

}  // namespace microvm::state
