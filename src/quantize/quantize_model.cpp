#include "quantize/quantize_model.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "backend/registry.h"
#include "checkpoint/model.h"
#include "core/quantization.h"
#include "core/row_codes.h"
#include "io/file_view.h"
#include "quantize/output_files.h"
#include "quantize/quantize_files.h"
#include "quantize/quantize_output.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// What the finished folder will say about itself, without its files.
ModelManifest manifest_of(const QuantizeRequest& request) {
  ModelManifest manifest;
  manifest.quantization = request.target == QuantizeTarget::ascend
                              ? kRowCodesName
                              : format_name(weight_format(request.quantization));
  manifest.components.assign(request.components.begin(), request.components.end());
  manifest.source_name = request.source.origin;
  manifest.source_hash = sampled_hash(request.source);
  manifest.max_shard_bytes = request.max_shard_bytes;
  return manifest;
}

/// One run from the first missing file to the last.
class QuantizeRun {
 public:
  QuantizeRun(const QuantizeRequest& request, const OutputFiles& output_files,
              ModelManifest manifest)
      : request_(request),
        output_files_(output_files),
        manifest_(std::move(manifest)),
        pool_(request.num_threads),
        observer_{[this](std::uint64_t bytes) { add_bytes(bytes); }, [this] { add_tensor(); }} {
    pool_.set_cancel_token(request.cancel);
    progress_.all_tensors = output_files.packed_tensors();
    progress_.all_bytes = output_files.source_bytes();
  }

  QuantizeResult run() {
    for (const OutputFile& file : output_files_.files) {
      if (keep_file(file)) continue;
      missing_.push_back(&file);
    }
    require_space();
    manifest_.write(request_.output);
    for (const OutputFile* file : missing_) write_file(*file);
    result_.files = output_files_.files.size();
    result_.packed_tensors = progress_.all_tensors;
    result_.source_bytes = progress_.all_bytes;
    for (const auto& [name, digest] : manifest_.files) result_.bytes += digest.bytes;
    result_.seconds = seconds();
    return result_;
  }

 private:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  void report() {
    if (request_.cancel) request_.cancel->throw_if_requested();
    progress_.seconds = seconds();
    if (request_.on_progress) request_.on_progress(progress_);
  }

  void add_bytes(std::uint64_t bytes) {
    progress_.bytes += bytes;
    report();
  }

  void add_tensor() {
    ++progress_.tensors;
    report();
  }

  /// Whether an interrupted run has written the file, and it is still whole.
  bool keep_file(const OutputFile& file) {
    const auto listed = manifest_.files.find(file.name);
    if (listed == manifest_.files.end()) return false;
    const std::string path = join_path(request_.output, file.name);
    const auto poll = [this](std::uint64_t) { report(); };
    const bool whole = file_exists(path) && open_file(path).bytes.size() == listed->second.bytes &&
                       digest_file(path, poll) == listed->second;
    if (!whole) {
      manifest_.files.erase(listed);
      return false;
    }
    ++result_.kept_files;
    progress_.kept_bytes += file.source_bytes;
    progress_.tensors += static_cast<std::size_t>(std::ranges::count_if(
        file.tensors,
        [](const OutputTensor& tensor) { return tensor.format != WeightFormat::plain; }));
    add_bytes(file.source_bytes);
    return true;
  }

  /// Hours of work should not end at a full disk.
  void require_space() const {
    std::uint64_t needed = 0;
    for (const OutputFile* file : missing_) {
      if (file->kind != OutputFile::Kind::link) needed += file->bytes;
    }
    require_space_for(needed, request_.output);
  }

  /// The list of files is renewed after each, and is complete before the last, model_index.json,
  /// makes a model of the folder.
  void write_file(const OutputFile& file) {
    report();
    make_folder_of(request_.output, file.name);
    if (&file == &output_files_.files.back()) {
      manifest_.files[file.name] = digest_file(file.source);
      manifest_.write(request_.output);
      write_output_file(pool_, request_.output, file, observer_);
      return;
    }
    manifest_.files[file.name] = write_output_file(pool_, request_.output, file, observer_);
    manifest_.write(request_.output);
  }

  const QuantizeRequest& request_;
  const OutputFiles& output_files_;
  ModelManifest manifest_;
  ThreadPool pool_;
  WriteObserver observer_;
  std::vector<const OutputFile*> missing_;
  QuantizeProgress progress_;
  QuantizeResult result_;
  Clock::time_point start_ = Clock::now();
};

/// Every name, type and shape, before there is any work.
void require_usable(const ModelFolder& source) {
  const auto ops = make_backend({});
  Model(*ops, source, Quantization::none);
}

}  // namespace

QuantizeResult quantize_model(const QuantizeRequest& request) {
  require_apart(request.source.path, request.output);
  if (request.target == QuantizeTarget::ascend && request.quantization != Quantization::int8) {
    throw Error(ErrorKind::invalid_argument,
                "--target ascend is for --quant int8: Ascend cards multiply integers of 8 bits");
  }
  const OutputFiles output_files =
      list_output_files(request.source, request.components, request.quantization, request.target,
                        request.max_shard_bytes);
  require_usable(request.source);
  ModelManifest manifest = manifest_of(request);
  const OutputLock lock = open_output(request.output);
  manifest.files = files_to_keep(request.output, manifest, request.force);
  return QuantizeRun(request, output_files, std::move(manifest)).run();
}

}  // namespace ernie_image
