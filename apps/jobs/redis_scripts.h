// What the Redis queue does in one piece: Lua, which Redis runs atomically.
#pragma once

#include <string_view>

namespace ernie_image::redis_scripts {

// Keys, each after the prefix P of the queue:
//   P:job:<id>                hash of all that is known of a job
//   P:jobs, P:owned:<owner>   sorted sets of ids, in the order of submission
//   P:waiting, P:running      sets of ids
//   P:finished                sorted set of ids by the time of their end
//   P:lane:<priority>:<model>           owners whose turn it is, the next first
//   P:lane:<priority>:<model>:<owner>   ids of the owner's waiting jobs, the next first
//   P:work:<priority>:<model>           stream of claimed jobs; group "workers"
//   P:dead                    stream of jobs that no worker survived
//   P:key:<owner and key>     id of the job that was submitted with that idempotency key
// and channels:
//   P:changed                 id of each job whose version grew
//   P:work                    hash of the model that a job began to wait for
// Models, owners and keys are named by their SHA-256: no text of a user is part of a key.

/// Goes before each of the others.
extern const std::string_view kPrelude;

// ARGV[1] is P, ARGV[2] the id, the model or the worker; the rest is said here. The time is that of
// Redis.

/// owner, owner's hash, key's hash or "", request, model's hash, priority, batch, most jobs that
/// may wait. The id; or "full", mean ms of a job, workers.
extern const std::string_view kSubmit;
/// All fields and values of the job; the queue position last, -1: none.
extern const std::string_view kFind;
/// 1: cancelled or told to be.
extern const std::string_view kCancel;
/// 1: removed.
extern const std::string_view kRemove;
/// worker, most jobs. Their ids.
extern const std::string_view kClaim;
/// idle ms, most attempts.
extern const std::string_view kReclaim;
/// worker, progress, preview or "", ms that a preview is kept. 1: go on.
extern const std::string_view kReport;
/// worker, or "" for whoever it is; state, outcome, failure's kind, message, seconds kept, most
/// finished jobs. The state it has ended in, or "" if nothing was done; then ids to be removed.
extern const std::string_view kFinish;
/// worker
extern const std::string_view kRelease;
/// what the worker says, seconds kept.
extern const std::string_view kAnnounce;
/// ms after which a worker is silent. Of each that is not: name, when it was heard (ms), what it
/// said.
extern const std::string_view kWorkers;

}  // namespace ernie_image::redis_scripts
