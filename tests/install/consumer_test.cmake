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

# The same without CMake.
find_program(pkg_config NAMES pkg-config pkgconf REQUIRED)
file(GLOB pc_file ${prefix}/lib*/pkgconfig/ernie_image.pc ${prefix}/lib/*/pkgconfig/ernie_image.pc)
get_filename_component(pc_folder ${pc_file} DIRECTORY)
execute_process(COMMAND ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${pc_folder} ${pkg_config} --cflags --libs ernie_image
                OUTPUT_VARIABLE pc_flags OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(pc_flags)
set(sanitize)
if(SANITIZE)
  set(sanitize -fsanitize=${SANITIZE})
endif()
get_filename_component(library_folder ${pc_folder} DIRECTORY)
run(${CXX_COMPILER} -std=c++20 ${sanitize} ${EXAMPLE_DIR}/main.cpp ${pc_flags} -Wl,-rpath,${library_folder}
    -o ${WORK_DIR}/by_pkg_config)
run(${WORK_DIR}/by_pkg_config "a red apple on a blue background" ${WORK_DIR}/apple2.png)
file(SHA256 ${picture} first)
file(SHA256 ${WORK_DIR}/apple2.png second)
if(NOT first STREQUAL second)
  message(FATAL_ERROR "${WORK_DIR}/apple2.png is not ${picture}")
endif()

# Nothing is written outside of the prefix, and what belongs to shells and manual readers is there.
file(STRINGS ${BUILD_DIR}/install_manifest.txt installed)
foreach(file IN LISTS installed)
  if(NOT file MATCHES "^${prefix}/")
    message(FATAL_ERROR "${file} was installed outside of ${prefix}")
  endif()
endforeach()
foreach(file etc/default/ernie-image share/man/man1/ernie-image.1 share/bash-completion/completions/ernie-image
        share/zsh/vendor-completions/_ernie-image share/fish/vendor_completions.d/ernie-image.fish)
  if(NOT EXISTS ${prefix}/${file})
    message(FATAL_ERROR "${prefix}/${file} is missing")
  endif()
  file(SIZE ${prefix}/${file} size)
  if(size EQUAL 0)
    message(FATAL_ERROR "${prefix}/${file} is empty")
  endif()
endforeach()

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
