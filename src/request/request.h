// What the fields of a request are called, which values they may have, and their JSON: the one
// place that commands, records of pictures, stored jobs, HTTP views and reports ask.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "ernie_image/error.h"
#include "ernie_image/request.h"
#include "io/json_reader.h"

namespace ernie_image {

/// Who calls an option what.
enum class Naming {
  full,   ///< records of pictures, HTTP, reports: "num_inference_steps"
  brief,  ///< stored jobs and workers: "steps"
  a1111,  ///< programs of the A1111 family: "steps", "cfg_scale"
};

/// A number that says how to draw, and that a model has a default for: left open, it is that. One
/// that `may_stay_open` stays so where nobody asks for it, and is not there in JSON then.
struct RequestOption {
  std::variant<int Request::*, std::optional<double> Request::*> member;
  const char* names[3];  ///< by Naming
  const char* title;     ///< in messages: "the number of steps"
  double min;
  double max;
  bool may_stay_open = false;

  const char* name(Naming naming = Naming::full) const { return names[static_cast<int>(naming)]; }
  bool is_whole() const { return member.index() == 0; }
  /// One of the limits as JSON has it: whole for a whole number.
  nlohmann::json limit(double bound) const;
  bool is_open(const Request& request) const;
  /// Null if it is open.
  nlohmann::json get(const Request& request) const;
  /// `value` must be within the limits.
  void set(Request& request, double value) const;
};

/// All of them, in an order that stored batches rely on.
std::span<const RequestOption> request_options();

/// The one whose full name is `name`.
const RequestOption& request_option(std::string_view name);

/// A list of name (which is the path), strength and, if it is for one, prompt.
nlohmann::json adapters_json(std::span<const Adapter> adapters);
/// The reverse, of the member `key`; an absent one is an empty list. `prompts`: how many there are.
std::vector<Adapter> read_adapters(const JsonReader& reader, const std::string& key, int prompts);

/// Adds `variation_seeds`, and `boxes` (four whole numbers each: left, top, width, height) with
/// their strength, where there are any.
void write_runs(const Request& request, nlohmann::json& object);
/// The reverse.
void read_runs(const JsonReader& reader, Request& request);
/// A list of boxes; an absent one is empty.
std::vector<Box> read_boxes(const JsonReader& reader, const std::string& key);

/// Every option that is not open, by its name.
nlohmann::json options_json(const Request& request, Naming naming = Naming::full);
/// Throws JsonError for a value out of range, and for an absent one unless `may_be_open`, or the
/// option may stay open: then it stays as it is.
void read_options(const JsonReader& reader, Naming naming, bool may_be_open, Request& request);

/// The whole request but for what is no part of a picture's record, latents, callbacks, traces, and
/// for the picture to begin with, of which a record has a hash (common/image_record.h). The options
/// must not be open.
nlohmann::json request_json(const Request& request);
/// The reverse. Hostile input: throws Error(corrupt_file).
Request read_request(const JsonReader& reader);

/// `request` with what `defaults` says in place of every option left open; an open side is its
/// picture's, if it has one.
Request with_defaults(Request request, const Request& defaults);

/// Throws Error(`kind`), its message after `where`, unless options are open or within their limits,
/// there is a prompt, the numbers of pictures, seeds and negative prompts fit together, and the
/// picture to begin with has its pixels and a possible strength.
void check_request(const Request& request, ErrorKind kind = ErrorKind::invalid_argument,
                   const std::string& where = "");

/// The sizes nearest to a side that `multiple_px` does not divide: "96 and 112".
std::string nearest_sides(int side_px, int multiple_px);
/// Throws Error(invalid_argument), which names each side that is wrong, unless height and width
/// divide by `multiple_px` and are within its limits.
void check_sides(const Request& request, int multiple_px);

/// Whether a second, larger run is asked for.
bool wants_hires(const Request& request);
/// The size of its pictures, {width, height}, in multiples of `multiple_px`. The request has a
/// size.
std::pair<int, int> hires_size(const Request& request, int multiple_px);

/// Images of the whole batch.
int image_count(const Request& request);

/// What belongs to image `index` of the batch.
const std::string& prompt_of(const Request& request, int index = 0);
std::string negative_prompt_of(const Request& request, int index = 0);
std::uint64_t seed_of(const Request& request, int index = 0);

}  // namespace ernie_image
