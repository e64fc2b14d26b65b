#include "quantize/quantize_files.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <future>
#include <span>

#include "core/packed_weight.h"
#include "core/row_codes.h"
#include "core/start_thread.h"
#include "io/atomic_file.h"
#include "io/file_view.h"
#include "io/sha256.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

using Bytes = std::span<const std::byte>;
using Append = std::function<void(Bytes)>;

// Small beside any memory, and long enough that starting and ending a piece does not show.
constexpr std::size_t kPieceBytes = std::size_t{32} << 20;

std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Appends and hashes pieces beside the caller's work, one at a time and in order.
class PieceWriter {
 public:
  explicit PieceWriter(const Append& append) : append_(append) {}

  /// Returns when the piece before is written; `piece` has to stay until the next call returns.
  void submit(Bytes piece) {
    finish();
    bytes_ += piece.size();
    pending_ = start_task([this, piece] {
      hash_.update(as_text(piece));
      append_(piece);
    });
  }

  void finish() {
    if (pending_.valid()) pending_.get();
  }

  /// Of everything; ends the writing.
  FileDigest digest() {
    finish();
    return {bytes_, hash_.hex()};
  }

 private:
  const Append& append_;
  Sha256 hash_;
  std::uint64_t bytes_ = 0;
  std::future<void> pending_;  // last: it is waited for before the rest goes
};

/// The memory that pieces of packed weights are made in: one is filled while the other is written.
class PieceBuffers {
 public:
  std::span<std::byte> next(std::size_t bytes) {
    current_ = 1 - current_;
    std::vector<std::byte>& buffer = buffers_[current_];
    if (buffer.size() < bytes) buffer.resize(bytes);
    return std::span(buffer).first(bytes);
  }

 private:
  std::array<std::vector<std::byte>, 2> buffers_;
  std::size_t current_ = 0;
};

void write_plain(const OutputTensor& tensor, PieceWriter& writer, const WriteObserver& observer) {
  const Weight& weight = tensor.source();
  const Bytes bytes(weight.data, weight.size_bytes());
  for (std::size_t begin = 0; begin < bytes.size(); begin += kPieceBytes) {
    const Bytes piece = bytes.subspan(begin, std::min(kPieceBytes, bytes.size() - begin));
    writer.submit(piece);
    release_pages(tensor.file->file());
    observer.on_source_bytes(piece.size());
  }
}

void write_packed(ThreadPool& pool, const OutputTensor& tensor, PieceBuffers& buffers,
                  PieceWriter& writer, const WriteObserver& observer) {
  const Weight& weight = tensor.source();
  const PackedLayout layout(tensor.format, weight.shape);
  const std::size_t record = layout.record_bytes();
  const auto at_once = std::max<std::int64_t>(1, static_cast<std::int64_t>(kPieceBytes / record));
  std::uint64_t reported = 0;
  for (std::int64_t first = 0; first < layout.panels; first += at_once) {
    const std::int64_t count = std::min(at_once, layout.panels - first);
    const std::span<std::byte> piece = buffers.next(static_cast<std::size_t>(count) * record);
    pool.parallel_for(count, [&](std::int64_t i, int) {
      pack_panel(layout, weight, first + i, piece.data() + static_cast<std::size_t>(i) * record);
    });
    writer.submit(piece);
    release_pages(tensor.file->file());
    const std::uint64_t done = weight.size_bytes() * static_cast<std::uint64_t>(first + count) /
                               static_cast<std::uint64_t>(layout.panels);
    observer.on_source_bytes(done - reported);
    reported = done;
  }
  observer.on_tensor();
}

void write_row_codes(ThreadPool& pool, const OutputTensor& tensor, PieceBuffers& buffers,
                     PieceWriter& writer, const WriteObserver& observer) {
  const Weight& weight = tensor.source();
  const RowCodesLayout layout(weight.shape);
  const auto depth = static_cast<std::size_t>(layout.depth);
  const auto at_once = std::max<std::int64_t>(1, static_cast<std::int64_t>(kPieceBytes / depth));
  std::vector<std::byte> end(layout.size_bytes - layout.code_bytes());  // filling and scales
  std::byte* const scales = end.data() + (layout.scale_offset - layout.code_bytes());
  std::vector<std::vector<float>> scratch(static_cast<std::size_t>(pool.num_threads()),
                                          std::vector<float>(depth));
  for (std::int64_t first = 0; first < layout.rows; first += at_once) {
    const std::int64_t count = std::min(at_once, layout.rows - first);
    const std::span<std::byte> piece = buffers.next(static_cast<std::size_t>(count) * depth);
    pool.parallel_for(count, [&](std::int64_t i, int thread) {
      const float scale =
          make_row_codes(weight, first + i, scratch[static_cast<std::size_t>(thread)],
                         reinterpret_cast<std::int8_t*>(piece.data()) + i * layout.depth);
      std::memcpy(scales + static_cast<std::size_t>(first + i) * sizeof(scale), &scale,
                  sizeof(scale));
    });
    writer.submit(piece);
    release_pages(tensor.file->file());
    observer.on_source_bytes(weight.size_bytes() / static_cast<std::uint64_t>(layout.rows) *
                             static_cast<std::uint64_t>(count));
  }
  writer.submit(end);
  writer.finish();  // `end` goes
  observer.on_tensor();
}

FileDigest write_shard(ThreadPool& pool, const std::string& path, const OutputFile& file,
                       const WriteObserver& observer) {
  std::vector<TensorEntry> entries;
  for (const OutputTensor& tensor : file.tensors) entries.push_back(tensor.entry);
  const std::string beginning = safetensors_beginning(path, entries, file.metadata);
  FileDigest digest;
  write_file_atomically(path, [&](const Append& append) {
    PieceBuffers buffers;  // before the writer, which may still be reading them when it ends
    PieceWriter writer(append);
    writer.submit(std::as_bytes(std::span(beginning)));
    for (const OutputTensor& tensor : file.tensors) {
      if (tensor.format == WeightFormat::plain) {
        write_plain(tensor, writer, observer);
      } else if (tensor.format == WeightFormat::encoded) {
        write_row_codes(pool, tensor, buffers, writer, observer);
      } else {
        write_packed(pool, tensor, buffers, writer, observer);
      }
    }
    digest = writer.digest();
  });
  return digest;
}

FileDigest copy_file(const std::string& path, const OutputFile& file,
                     const WriteObserver& observer) {
  const FileView source = open_file(file.source);
  FileDigest digest;
  write_file_atomically(path, [&](const Append& append) {
    PieceWriter writer(append);
    for (std::size_t begin = 0; begin < source.bytes.size(); begin += kPieceBytes) {
      const Bytes piece =
          source.bytes.subspan(begin, std::min(kPieceBytes, source.bytes.size() - begin));
      writer.submit(piece);
      release_pages(source);
      observer.on_source_bytes(piece.size());
    }
    digest = writer.digest();
  });
  return digest;
}

/// Caches keep a model as links to files elsewhere: the new name is for the file itself. A name
/// that an interrupted run left makes room.
bool link_file(const std::string& source, const std::string& path) {
  std::error_code error;
  const fs::path resolved = fs::canonical(source, error);
  if (error) return false;
  ::unlink(path.c_str());
  return ::link(resolved.c_str(), path.c_str()) == 0;
}

FileDigest write_text(const std::string& path, const OutputFile& file) {
  write_file_atomically(path, std::as_bytes(std::span(file.content)));
  return {file.content.size(), sha256_hex(file.content)};
}

}  // namespace

FileDigest write_output_file(ThreadPool& pool, const std::string& folder, const OutputFile& file,
                             const WriteObserver& observer) {
  const std::string path = join_path(folder, file.name);
  switch (file.kind) {
    case OutputFile::Kind::shard:
      return write_shard(pool, path, file, observer);
    case OutputFile::Kind::text:
      return write_text(path, file);
    case OutputFile::Kind::link:
      if (link_file(file.source, path)) return digest_file(path, observer.on_source_bytes);
      break;
    case OutputFile::Kind::copy:
      break;
  }
  return copy_file(path, file, observer);
}

}  // namespace ernie_image
