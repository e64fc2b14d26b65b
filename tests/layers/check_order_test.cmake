# What CheckIncludes.cmake says of a small tree of folders, some includes of which are out of order.
function(check folder allowed result output)
  execute_process(COMMAND ${CMAKE_COMMAND} "-DFOLDER=${folder}" "-DALLOWED=${allowed}" -DROOT=${FOLDER} -DSTAMP=${FOLDER}/stamp
                          -P ${SOURCE}/cmake/CheckIncludes.cmake
                  RESULT_VARIABLE status ERROR_VARIABLE text OUTPUT_QUIET)
  set(${result} ${status} PARENT_SCOPE)
  set(${output} "${text}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${FOLDER})
file(COPY ${SOURCE}/cmake/Layers.cmake DESTINATION ${FOLDER}/cmake)
file(WRITE ${FOLDER}/include/ernie_image/error.h "")
file(WRITE ${FOLDER}/include/ernie_image/pipeline.h "")
file(WRITE ${FOLDER}/src/backend/backend.h "#include \"core/tensor.h\"\n#include <vector>\n")
file(WRITE ${FOLDER}/src/backend/cpu/kernels.h "")
file(WRITE ${FOLDER}/src/core/tensor.h "#include \"ernie_image/error.h\"\n#include \"another/library.h\"\n")
file(WRITE ${FOLDER}/src/nn/linear.h "#include \"backend/backend.h\"\n")

foreach(folder src/core src/backend src/nn)
  check(${folder} "include;src/core;src/backend;src/nn" status text)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${folder} is in order, but: ${text}")
  endif()
endforeach()

# A layer above, a device's own folder, the public face.
foreach(header nn/linear.h backend/cpu/kernels.h ernie_image/pipeline.h)
  file(WRITE ${FOLDER}/src/core/tensor.h "\n #  include \"${header}\"  // why\n")
  check(src/core "include;src/core;src/backend" status text)
  if(status EQUAL 0 OR NOT text MATCHES "src/core/tensor.h: .*#  include .${header}")
    message(FATAL_ERROR "${header} in src/core gave ${status}: ${text}")
  endif()
endforeach()
