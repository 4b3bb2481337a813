// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace http_server {

/// What the service offers, for programs: OpenAPI 3.1.
inline constexpr std::string_view openapi = R"json({
  "openapi": "3.1.0",
  "info": {"title": "Skerry's example service", "version": "0.1.0"},
  "paths": {
    "/": {
      "get": {
        "summary": "A greeting",
        "responses": {"200": {"description": "Hello, World!", "content": {"text/plain": {}}}}
      }
    },
    "/json": {
      "get": {
        "summary": "The greeting as JSON",
        "responses": {"200": {"description": "A message", "content": {"application/json": {}}}}
      }
    },
    "/items": {
      "get": {
        "summary": "Some items, in the order of their numbers",
        "parameters": [
          {"name": "from", "in": "query", "schema": {"type": "integer"}},
          {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 1000}}
        ],
        "responses": {
          "200": {
            "description": "The items",
            "content": {
              "application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/item"}}}
            }
          }
        }
      },
      "post": {
        "summary": "Make an item",
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/item"}}}},
        "responses": {
          "201": {"description": "It was made; Location names it"},
          "507": {"description": "No room on this shard"}
        }
      }
    },
    "/items/{id}": {
      "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}],
      "get": {
        "summary": "One item",
        "responses": {"200": {"description": "The item"}, "404": {"description": "There is none"}}
      },
      "put": {
        "summary": "Change an item",
        "responses": {"200": {"description": "As it is now"}, "404": {"description": "There is none"}}
      },
      "delete": {
        "summary": "Remove an item",
        "responses": {"204": {"description": "It is gone"}, "404": {"description": "There is none"}}
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
      }
    }
  }
}
)json";

}  // namespace http_server
