// What the stand-ins for CUDA's libraries know of a stream.
#pragma once

struct cuda_host_graph;

struct cuda_host_stream {
  cuda_host_graph* recording = nullptr;
  int device = 0;
};
