# Run by ctest (see CMakeLists.txt); every step that fails ends the script with an error.
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
set(prefix ${WORK_DIR}/prefix)
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix})

# A sanitized library needs a sanitized program.
set(flags)
if(SANITIZE)
  set(flags -DCMAKE_CXX_FLAGS=-fsanitize=${SANITIZE})
endif()
run(${CMAKE_COMMAND} -S ${EXAMPLE_DIR} -B ${WORK_DIR}/build -G Ninja
    -D CMAKE_CXX_COMPILER=${CXX_COMPILER} -D CMAKE_PREFIX_PATH=${prefix} ${flags})
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)

set(picture ${WORK_DIR}/apple.png)
run(${WORK_DIR}/build/text_to_picture "a red apple on a blue background" ${picture})
file(READ ${picture} signature LIMIT 8 HEX)
if(NOT signature STREQUAL "89504e470d0a1a0a")
  message(FATAL_ERROR "${picture} is not a PNG file: it begins with ${signature}")
endif()

# The same from C, found by pkg-config.
set(picture ${WORK_DIR}/c_apple.png)
execute_process(COMMAND ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${prefix}/lib/pkgconfig pkg-config --cflags --libs ernie_image_c
                OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(found)
if(SANITIZE)
  list(APPEND found -fsanitize=${SANITIZE})
endif()
run(${C_COMPILER} -std=c99 -Wall -Werror ${EXAMPLE_DIR}/text_to_picture.c -o ${WORK_DIR}/text_to_picture_c ${found} -Wl,-rpath,${prefix}/lib)
run(${WORK_DIR}/text_to_picture_c "a red apple on a blue background" ${picture})
file(READ ${picture} signature LIMIT 8 HEX)
if(NOT signature STREQUAL "89504e470d0a1a0a")
  message(FATAL_ERROR "${picture} is not a PNG file: it begins with ${signature}")
endif()

# Only include/ernie_image may be needed by a consumer, and only it is installed.
file(GLOB installed_headers RELATIVE ${prefix}/include ${prefix}/include/*)
if(NOT installed_headers STREQUAL "ernie_image")
  message(FATAL_ERROR "Installed under include/: ${installed_headers}; expected ernie_image alone")
endif()
