// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace http_server {

/// What the service offers, for programs: OpenAPI 3.1. Statuses that any request may get are under "default": what the
/// server itself refuses, and what goes wrong in it. A test holds the rest against the router.
inline constexpr std::string_view openapi = R"json({
  "openapi": "3.1.0",
  "info": {"title": "Skerry's example service", "version": "0.1.0"},
  "paths": {
    "/": {
      "get": {
        "summary": "A greeting",
        "responses": {
          "200": {"description": "Hello, World!", "content": {"text/plain": {"schema": {"type": "string"}}}},
          "default": {"$ref": "#/components/responses/problem"}
        }
      }
    },
    "/json": {
      "get": {
        "summary": "The greeting as JSON",
        "responses": {
          "200": {"description": "A message", "content": {"application/json": {"schema": {"type": "object"}}}},
          "default": {"$ref": "#/components/responses/problem"}
        }
      }
    },
    "/openapi.json": {
      "get": {
        "summary": "This description",
        "responses": {
          "200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}},
          "default": {"$ref": "#/components/responses/problem"}
        }
      }
    },
    "/items": {
      "get": {
        "summary": "Some items, in the order of their numbers",
        "parameters": [
          {"name": "from", "in": "query", "schema": {"type": "integer", "minimum": 0}},
          {
            "name": "limit",
            "in": "query",
            "description": "At most so many, and never more than 1000",
            "schema": {"type": "integer", "minimum": 0, "default": 100}
          }
        ],
        "responses": {
          "200": {
            "description": "The items",
            "content": {
              "application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/item"}}}
            }
          },
          "400": {"$ref": "#/components/responses/bad_argument"},
          "default": {"$ref": "#/components/responses/problem"}
        }
      },
      "post": {
        "summary": "Make an item",
        "requestBody": {"$ref": "#/components/requestBodies/item"},
        "responses": {
          "201": {
            "description": "It was made",
            "headers": {"Location": {"description": "Its path", "schema": {"type": "string"}}},
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/item"}}}
          },
          "400": {"$ref": "#/components/responses/bad_argument"},
          "413": {"$ref": "#/components/responses/too_long"},
          "415": {"$ref": "#/components/responses/no_json"},
          "507": {"$ref": "#/components/responses/no_room"},
          "default": {"$ref": "#/components/responses/problem"}
        }
      }
    },
    "/items/{id}": {
      "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer", "minimum": 0}}],
      "get": {
        "summary": "One item. Each shard begins with one, and 1 is that of shard 0",
        "responses": {
          "200": {"$ref": "#/components/responses/item"},
          "400": {"$ref": "#/components/responses/bad_argument"},
          "404": {"$ref": "#/components/responses/none"},
          "default": {"$ref": "#/components/responses/problem"}
        }
      },
      "put": {
        "summary": "Change an item",
        "requestBody": {"$ref": "#/components/requestBodies/item"},
        "responses": {
          "200": {"$ref": "#/components/responses/item"},
          "400": {"$ref": "#/components/responses/bad_argument"},
          "404": {"$ref": "#/components/responses/none"},
          "413": {"$ref": "#/components/responses/too_long"},
          "415": {"$ref": "#/components/responses/no_json"},
          "default": {"$ref": "#/components/responses/problem"}
        }
      },
      "delete": {
        "summary": "Remove an item",
        "responses": {
          "204": {"description": "It is gone"},
          "400": {"$ref": "#/components/responses/bad_argument"},
          "404": {"$ref": "#/components/responses/none"},
          "default": {"$ref": "#/components/responses/problem"}
        }
      }
    },
    "/static/{path}": {
      "get": {
        "summary": "A file of the directory that --static names; without that option 404",
        "parameters": [
          {
            "name": "path",
            "in": "path",
            "required": true,
            "description": "May have slashes, and be empty; of a directory, with a slash behind, its index.html",
            "schema": {"type": "string"}
          },
          {"name": "Range", "in": "header", "schema": {"type": "string"}},
          {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}},
          {"name": "If-Match", "in": "header", "schema": {"type": "string"}}
        ],
        "responses": {
          "200": {"description": "The file", "content": {"*/*": {}}},
          "206": {"description": "A part of it", "content": {"*/*": {}}},
          "301": {"description": "A directory; Location has the slash behind its name"},
          "304": {"description": "It is what the client has"},
          "400": {"$ref": "#/components/responses/bad_argument"},
          "403": {"description": "It may not be read", "$ref": "#/components/responses/problem"},
          "404": {"$ref": "#/components/responses/none"},
          "412": {"description": "It is another by now", "$ref": "#/components/responses/problem"},
          "416": {"description": "It has fewer bytes", "$ref": "#/components/responses/problem"},
          "default": {"$ref": "#/components/responses/problem"}
        }
      }
    }
  },
  "components": {
    "schemas": {
      "item": {
        "type": "object",
        "required": ["name", "price"],
        "properties": {
          "id": {"type": "integer", "readOnly": true},
          "name": {"type": "string"},
          "price": {"type": "integer"}
        }
      },
      "problem": {
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail"],
        "properties": {
          "type": {"type": "string"},
          "title": {"type": "string"},
          "status": {"type": "integer"},
          "detail": {"type": "string"}
        }
      }
    },
    "requestBodies": {
      "item": {
        "required": true,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/item"}}}
      }
    },
    "responses": {
      "item": {
        "description": "The item as it is now",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/item"}}}
      },
      "problem": {
        "description": "What is wrong: with the request, with the number of requests, or here",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}}}
      },
      "bad_argument": {
        "description": "An argument or the body is not what it has to be; the detail names it",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}}}
      },
      "none": {
        "description": "There is none",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}}}
      },
      "too_long": {
        "description": "The body has more than 1 MiB",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}}}
      },
      "no_json": {
        "description": "The body's type is not JSON",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}}}
      },
      "no_room": {
        "description": "This shard has no room for more items",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}}}
      }
    }
  }
}
)json";

}  // namespace http_server
