#include "host/session/guest_files.hpp"

#include <algorithm>

#include "host/session/agent_messages.hpp"

namespace microvm::host {

using wire::FrameType;

namespace {

using Request = microvm_agent_FileRequest;

Result<Request> make_request(microvm_agent_FileRequest_Action action, const std::string& path) {
  Request request{};
  request.action = action;
  if (auto ok = set_text(request.path, path, "a path"); !ok) return base::fail(ok.error());
  if (!path.starts_with('/')) {
    return base::fail(ErrorCode::invalid_argument, "\"" + path + "\" is not an absolute path");
  }
  return request;
}

Result<void> set_attributes(Request& request, const std::optional<uint32_t>& mode,
                            const std::string& owner) {
  if (mode && *mode > 07777) {
    return base::fail(ErrorCode::invalid_argument, "a mode has only the bits of 07777");
  }
  request.mode_given = mode.has_value();
  request.mode = mode.value_or(0);
  return set_text(request.owner, owner, "an owner");
}

Result<FileType> to_type(microvm_agent_FileEntry_Type type) {
  switch (type) {
    case microvm_agent_FileEntry_Type_REGULAR:
      return FileType::regular;
    case microvm_agent_FileEntry_Type_DIRECTORY:
      return FileType::directory;
    case microvm_agent_FileEntry_Type_SYMLINK:
      return FileType::symlink;
    case microvm_agent_FileEntry_Type_FIFO:
      return FileType::fifo;
    case microvm_agent_FileEntry_Type_SOCKET:
      return FileType::socket;
    case microvm_agent_FileEntry_Type_CHARACTER_DEVICE:
      return FileType::character_device;
    case microvm_agent_FileEntry_Type_BLOCK_DEVICE:
      return FileType::block_device;
    default:
      return base::fail(ErrorCode::protocol, "the agent sent a kind of file that does not exist");
  }
}

Result<FileInfo> decode_info(const Frame& frame) {
  const auto entry = decode_message<microvm_agent_FileEntry>(frame.body);
  if (!entry) return base::fail(entry.error());
  return to_file_info(*entry);
}

Result<FileInfo> receive_info(Operation& operation, const Limits& limits) {
  const auto frame = operation.receive(limits.within(kSilenceLimit));
  if (!frame) return base::fail(frame.error());
  if (frame->type != FrameType::file_entry) return operation.unexpected(*frame);
  return decode_info(*frame);
}

Result<void> receive_data(Operation& operation, const std::string& path,
                          const ReadFileOptions& options, const DataSink& sink,
                          const Limits& limits) {
  const uint64_t bound =
      options.length == 0 ? options.max_bytes : std::min(options.length, options.max_bytes);
  for (uint64_t total = 0;;) {
    const auto frame = operation.receive(limits.within(kSilenceLimit));
    if (!frame) return base::fail(frame.error());
    if (frame->type == FrameType::ok) return {};
    if (frame->type != FrameType::file_data || frame->body.empty()) {
      return operation.unexpected(*frame);
    }
    total += frame->body.size();
    if (total > bound) {
      return base::fail(ErrorCode::invalid_argument,
                        "read a file: " + path + " has more than " + std::to_string(bound) +
                            " bytes: raise max_bytes, or read it in parts");
    }
    if (auto taken = sink(frame->body); !taken) return taken;
  }
}

Result<void> send_data(Operation& operation, const DataSource& source, const Limits& limits) {
  wire::Bytes buffer(wire::kDataChunk);
  for (;;) {
    const auto got = source(buffer);
    if (!got) return base::fail(got.error());
    if (*got == 0) break;
    const auto piece = wire::ByteView(buffer).first(std::min(*got, buffer.size()));
    const auto sent = operation.send(FrameType::file_data, piece, limits.within(kSilenceLimit));
    if (!sent) return sent;
  }
  return operation.send(FrameType::put_end, {}, limits.within(kSilenceLimit));
}

}  // namespace

Result<FileInfo> to_file_info(const microvm_agent_FileEntry& entry) {
  const auto type = to_type(entry.type);
  if (!type) return base::fail(type.error());
  FileInfo info;
  info.name = entry.path;
  info.type = *type;
  info.mode = entry.mode & 07777;
  info.uid = entry.uid;
  info.gid = entry.gid;
  info.size_bytes = entry.size;
  info.mtime_ns = entry.mtime_ns;
  info.link_target = entry.link_target;
  return info;
}

Error asleep_meanwhile(std::string_view what) {
  return {ErrorCode::vm_suspended,
          std::string(what) +
              ": the microvm was suspended meanwhile, and how far it had come is not known: look, "
              "and do it again"};
}

Result<Operation> GuestFiles::begin(const char* what, const Request& request,
                                    const Limits& limits) {
  auto operation = Operation::open(link_, what, limits);
  if (!operation) return operation;
  auto sent = operation->send(FrameType::file, encode_message(request), limits);
  if (!sent) return base::fail(sent.error());
  return operation;
}

Result<std::optional<Operation>> GuestFiles::begin_change(const char* what, Request& request,
                                                          const Limits& limits,
                                                          const Limits& answer_limits) {
  const bool again = change_ != nullptr && change_->begun;
  if (change_ != nullptr) set_operation_id(request.operation_id, *change_);
  auto operation = Operation::open(link_, what, limits);
  if (!operation) return base::fail(operation.error());
  if (change_ != nullptr) change_->begun = true;
  const FrameType type = again ? FrameType::file_again : FrameType::file;
  auto sent = operation->send(type, encode_message(request), limits);
  if (!sent) return base::fail(sent.error());
  if (!again) return operation;
  const auto answer = operation->receive_if_known(answer_limits);
  if (!answer) return base::fail(answer.error());
  if (!*answer) return base::fail(asleep_meanwhile(what));
  if ((*answer)->type == FrameType::ok) return std::nullopt;
  if ((*answer)->type != FrameType::go_on) return operation->unexpected(**answer);
  return operation;
}

Result<void> GuestFiles::ask(const char* what, Request& request, const Limits& limits) {
  auto operation = begin_change(what, request, limits, limits);
  if (!operation) return base::fail(operation.error());
  return *operation ? (*operation)->expect_ok(limits) : Result<void>();
}

Result<FileInfo> GuestFiles::stat(const std::string& path, bool follow, const Limits& limits) {
  auto request = make_request(microvm_agent_FileRequest_Action_STAT, path);
  if (!request) return base::fail(request.error());
  request->follow = follow;
  auto operation = begin("look at a file", *request, limits);
  if (!operation) return base::fail(operation.error());
  auto info = receive_info(*operation, limits);
  if (!info) return info;
  if (auto ok = operation->expect_ok(limits); !ok) return base::fail(ok.error());
  info->name = path;
  return info;
}

Result<std::vector<FileInfo>> GuestFiles::list(const std::string& path, uint64_t max_entries,
                                               const Limits& limits) {
  const auto request = make_request(microvm_agent_FileRequest_Action_LIST, path);
  if (!request) return base::fail(request.error());
  auto operation = begin("list files", *request, limits);
  if (!operation) return base::fail(operation.error());
  std::vector<FileInfo> infos;
  for (;;) {
    const auto frame = operation->receive(limits.within(kSilenceLimit));
    if (!frame) return base::fail(frame.error());
    if (frame->type == FrameType::ok) break;
    if (frame->type != FrameType::file_entry) return operation->unexpected(*frame);
    if (infos.size() >= max_entries) {
      return base::fail(ErrorCode::invalid_argument, "list files: " + path + " has more than " +
                                                         std::to_string(max_entries) + " entries");
    }
    auto info = decode_info(*frame);
    if (!info) return base::fail(info.error());
    if (info->name.empty() || info->name.find('/') != std::string::npos) {
      return base::fail(ErrorCode::protocol, "list files: the agent sent what is no name");
    }
    infos.push_back(std::move(*info));
  }
  std::ranges::sort(infos, {}, &FileInfo::name);
  return infos;
}

Result<FileInfo> GuestFiles::read(const std::string& path, const ReadFileOptions& options,
                                  const DataSink& sink, const Limits& limits) {
  auto request = make_request(microvm_agent_FileRequest_Action_READ, path);
  if (!request) return base::fail(request.error());
  request->offset = options.offset;
  request->length = options.length;
  auto operation = begin("read a file", *request, limits);
  if (!operation) return base::fail(operation.error());
  auto info = receive_info(*operation, limits);
  if (!info) return info;
  if (auto read = receive_data(*operation, path, options, sink, limits); !read) {
    return base::fail(read.error());
  }
  info->name = path;
  return info;
}

Result<void> GuestFiles::write(const std::string& path, Content content, const DataSource& source,
                               const WriteFileOptions& options, const Limits& limits) {
  const bool append = content == Content::is_appended;
  auto request = make_request(
      append ? microvm_agent_FileRequest_Action_APPEND : microvm_agent_FileRequest_Action_WRITE,
      path);
  if (!request) return base::fail(request.error());
  if (auto ok = set_attributes(*request, options.mode, options.owner); !ok) return ok;
  request->keep_existing = !options.replace;
  auto operation = begin_change(append ? "append to a file" : "write a file", *request, limits,
                                limits.within(kSilenceLimit));
  if (!operation) return base::fail(operation.error());
  if (!*operation) return {};
  if (auto sent = send_data(**operation, source, limits); !sent) return sent;
  return (*operation)->expect_ok(limits.within(kSilenceLimit));
}

Result<void> GuestFiles::make_directory(const std::string& path,
                                        const MakeDirectoryOptions& options, const Limits& limits) {
  auto request = make_request(microvm_agent_FileRequest_Action_MAKE_DIRECTORY, path);
  if (!request) return base::fail(request.error());
  if (auto ok = set_attributes(*request, options.mode, options.owner); !ok) return ok;
  request->whole = options.parents;
  return ask("make a directory", *request, limits);
}

Result<void> GuestFiles::remove(const std::string& path, const RemoveFileOptions& options,
                                const Limits& limits) {
  auto request = make_request(microvm_agent_FileRequest_Action_REMOVE, path);
  if (!request) return base::fail(request.error());
  request->whole = options.recursive;
  return ask("remove a file", *request, limits);
}

Result<void> GuestFiles::rename(const std::string& path, const std::string& new_path,
                                const RenameFileOptions& options, const Limits& limits) {
  auto request = make_request(microvm_agent_FileRequest_Action_RENAME, path);
  if (!request) return base::fail(request.error());
  if (auto ok = set_text(request->new_path, new_path, "a path"); !ok) return ok;
  request->keep_existing = !options.replace;
  return ask("rename a file", *request, limits);
}

}  // namespace microvm::host
