// What the Redis queue does in one piece: Lua, which Redis runs atomically.
#pragma once

#include <string_view>

namespace ernie_image::redis_scripts {

// Keys, each after the prefix P of the queue. An id is written as hexadecimal text, <raw> stands
// for its 16 bytes, which many sets hold.
//   P:job:<id>                hash of all that is known of a waiting or running job
//   P:done                    hash of final jobs: <raw> to a packed list of their fields
//   P:index:<owner>:<state>   <raw> of the owner's jobs, sorted by the order of submission
//   P:waiting, P:running      <raw> of everybody's, sorted by the order of submission
//   P:ended                   list of <raw> in the order of their end; removed jobs may remain
//   P:lane:<priority>:<model>           owners sorted by whose turn it is
//   P:lane:<priority>:<model>:<owner>   ids of the owner's waiting jobs, the next first
//   P:work:<priority>:<model>           stream of claimed jobs; group "workers"
//   P:dead                    stream of jobs that no worker survived
//   P:damaged:<id>            a job that could not be read, as it was found
//   P:keys                    hash: bytes of an idempotency key's hash to <raw>
//   P:served                  hash: model to when a worker of it, or its first job, was heard of
//   P:workers, P:worker:<name>          workers by when they were heard, and what they said
//   P:fleet:<model>           workers of the model by when they were heard
//   P:pace:<model>, P:total:<model>     speed of each of them that is known, and of all together
// and channels:
//   P:changed                 id of each job whose version grew
//   P:work                    hash of the model that a job began to wait for
// Models, owners, keys and workers are named by hashes: no text of a user is part of a key.

/// Goes before each of the others.
extern const std::string_view kPrelude;

// ARGV[1] is P, ARGV[2] the id, the model or the worker; the rest is said here. The time is that of
// Redis.

/// owner, key's hash or "", request, model's hash, priority, batch, most jobs that may wait,
/// pixels of a picture, pictures, whether it begins with pictures ("1"). The id, and "known" if it
/// was known by its key; or "full", mean ms of a job, workers.
extern const std::string_view kSubmit;
/// ARGV[2] is a key's hash. The id that came with it, or nothing.
extern const std::string_view kKnown;
/// All fields and values of the job, "position" among them while it waits; "set_aside" and "owner"
/// of one that was damaged.
extern const std::string_view kFind;
/// ARGV[2] is "owned" for an owner's jobs, else everybody's that are not final; owner, state or "",
/// id that all are older than or "", most jobs. The same of each, with "id".
extern const std::string_view kList;
/// seconds kept. The id if it was cancelled or told to be, then again if its inputs are over.
extern const std::string_view kCancel;
/// 1: removed.
extern const std::string_view kRemove;
/// what a final job's outcome is, what it shall be. 1: replaced; 0: it is another by now.
extern const std::string_view kReplaceOutcome;
/// seconds kept. Takes a job that cannot be read out of everything.
extern const std::string_view kSetAside;
/// worker, the three numbers of a BatchLimit, the worker's speed, seconds that a damaged one is
/// kept, worker's hash. Their ids.
extern const std::string_view kClaim;
/// idle ms, most attempts, seconds kept. Ids of jobs whose inputs are over.
extern const std::string_view kReclaim;
/// worker, progress, preview or "", ms that a preview is kept. 1: go on.
extern const std::string_view kReport;
/// worker, or "" for whoever it is; state, outcome, failure's kind, message, seconds kept, most
/// finished jobs. The state it has ended in, or "" if nothing was done; its id if its inputs are
/// over, or ""; then ids of jobs to be removed.
extern const std::string_view kFinish;
/// worker, seconds kept. Its id if its inputs are over.
extern const std::string_view kRelease;
/// what the worker says, seconds kept, model's hash, the worker's speed.
extern const std::string_view kAnnounce;
/// ms that a waiting job's model may be without workers, seconds kept. Fails those beyond, 100 at
/// most. Ids of those whose inputs are over.
extern const std::string_view kFailOrphans;
/// ms after which a worker is silent. Of each that is not: name, when it was heard (ms), what it
/// said.
extern const std::string_view kWorkers;

}  // namespace ernie_image::redis_scripts
