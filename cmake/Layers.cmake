# The order of the folders, in one table: each line is a folder, and after the colon those that it stands on. A file may
# include what is in its own folder, in these, and in what these stand on. The table makes the libraries that a folder's target
# links, and each target is built only after every `#include "..."` of its folder has been held against it (CheckIncludes.cmake).
set(ERNIE_IMAGE_LAYERS
  "include:"
  "include/ernie_image/pipeline.h: include"
  "src/core: include"
  "src/metrics: include"
  "src/io: src/core"
  "src/tokenizer: src/io"
  "src/backend: src/core"
  "src/backend/card: src/backend"
  "src/backend/cpu: src/backend"
  "src/backend/cuda: src/backend/card"
  "src/backend/ascend: src/backend/card src/io"
  "src/verify: src/backend"
  "src/nn: src/backend"
  "src/adapters: src/nn src/io"
  "src/models: src/nn src/io"
  "src/request: src/io"
  "src/sampling: src/request"
  "src/checkpoint: src/adapters src/models src/sampling src/tokenizer"
  "src/memory: src/checkpoint"
  "src/quantize: src/memory"
  "src/enhance: src/memory"
  "src/pipeline: src/enhance src/quantize include/ernie_image/pipeline.h"
  "src/c_api: src/pipeline src/metrics"
  "apps/common: src/pipeline"
  "apps/bench: apps/common src/backend/cpu"  # whose peak it measures
  "apps/eval: apps/common src/metrics"
  "apps/jobs: apps/common"
  "apps/server: apps/jobs"
  "apps/commands: apps/bench apps/eval apps/server src/verify"
  "apps: apps/commands")

# "FILE HEADER" that are out of order, and known to be.
set(ERNIE_IMAGE_LAYER_EXCEPTIONS)

# The folders on the right of a folder's colon.
function(ernie_image_layers_below folder result)
  foreach(line IN LISTS ERNIE_IMAGE_LAYERS)
    if(line MATCHES "^${folder}:(.*)$")
      string(REGEX MATCHALL "[^ ]+" below "${CMAKE_MATCH_1}")
      set(${result} ${below} PARENT_SCOPE)
      return()
    endif()
  endforeach()
  message(FATAL_ERROR "cmake/Layers.cmake has no line for ${folder}")
endfunction()

# The folder itself and everything that it stands on, however indirectly.
function(ernie_image_layers_reached folder result)
  set(reached ${folder})
  set(ahead ${folder})
  while(ahead)
    list(POP_FRONT ahead next)
    ernie_image_layers_below(${next} below)
    foreach(layer IN LISTS below)
      if(NOT layer IN_LIST reached)
        list(APPEND reached ${layer})
        list(APPEND ahead ${layer})
      endif()
    endforeach()
  endwhile()
  set(${result} ${reached} PARENT_SCOPE)
endfunction()

# `target` holds the sources of the current folder.
function(ernie_image_stands_on_layers target)
  file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  set_property(GLOBAL PROPERTY "ERNIE_IMAGE_TARGET_OF_${folder}" ${target})
  ernie_image_layers_below(${folder} below)
  foreach(layer IN LISTS below)
    get_property(library GLOBAL PROPERTY "ERNIE_IMAGE_TARGET_OF_${layer}")
    if(NOT library)
      continue()  # headers, or not built here
    endif()
    get_target_property(kind ${library} TYPE)
    get_target_property(own_kind ${target} TYPE)
    if(kind STREQUAL OBJECT_LIBRARY AND NOT own_kind STREQUAL OBJECT_LIBRARY)
      set(library ernie_image_internal)  # which has these objects and all others
    endif()
    if(own_kind STREQUAL EXECUTABLE)
      target_link_libraries(${target} PRIVATE ${library})
    else()
      target_link_libraries(${target} PUBLIC ${library})
    endif()
  endforeach()
  ernie_image_check_includes(${target} ${folder})
endfunction()

function(ernie_image_check_includes target folder)
  ernie_image_layers_reached(${folder} allowed)
  set(patterns "")
  foreach(extension h cpp cu)
    list(APPEND patterns ${CMAKE_CURRENT_SOURCE_DIR}/*.${extension})
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  set(stamp ${CMAKE_CURRENT_BINARY_DIR}/includes.stamp)
  add_custom_command(OUTPUT ${stamp}
    COMMAND ${CMAKE_COMMAND} "-DFOLDER=${folder}" "-DALLOWED=${allowed}" "-DROOT=${PROJECT_SOURCE_DIR}" "-DSTAMP=${stamp}"
            -P ${PROJECT_SOURCE_DIR}/cmake/CheckIncludes.cmake
    DEPENDS ${sources} ${PROJECT_SOURCE_DIR}/cmake/CheckIncludes.cmake ${PROJECT_SOURCE_DIR}/cmake/Layers.cmake
    COMMENT "Checking what ${folder} includes" VERBATIM)
  add_custom_target(${target}_includes DEPENDS ${stamp})
  add_dependencies(${target} ${target}_includes)
endfunction()
