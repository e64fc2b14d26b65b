// Marks what the shared library exports; everything else stays hidden.
#pragma once

#define ERNIE_IMAGE_API __attribute__((visibility("default")))
