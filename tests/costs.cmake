# Seconds of what takes long, of `tests`: ctest begins with these where it has no times of an earlier run, so that what runs last
# is short. Read by ctest itself.
foreach(test IN LISTS tests)
  if(test MATCHES "^Standin[.].*RealWidth[.]T")
    set_tests_properties("${test}" PROPERTIES COST 50)
  elseif(test MATCHES "RealWidthQuantized|^OnStandin[.]Bf16|^CudaHost[.].*(tiny_b_02|DeviceMemory)")
    set_tests_properties("${test}" PROPERTIES COST 25)
  elseif(test MATCHES "RealWidth[.]|^CudaHost[.].*Golden|^VaeBands|^Eval[.]|^Interrupt[.]|^RedisNews|^Fleet")
    set_tests_properties("${test}" PROPERTIES COST 8)
  endif()
endforeach()
