# What a client of the API sends, as shell functions; sourced by the file that scripts/demo writes. U is the
# aggregator's address and N the node's; T is a reader's token and O an operator's.
health() { curl -s "$N/health"; echo; }
get() { curl -s -H "Authorization: Bearer $T" "$U$1"; echo; }
feed() { curl -sN -H "Authorization: Bearer $T" "$U/v1/feed?after=0"; }
order() { # DEVICE PERCENT: for a minute
    local body="{\"device\": \"$1\", \"point\": \"dim_level\", \"value\": $2, \"expires_in_s\": 60}"
    curl -s -H "Authorization: Bearer $O" -H "Idempotency-Key: $RANDOM$RANDOM" \
        -H "Content-Type: application/json" -d "$body" "$U/v1/commands"
    echo
}
code() { # NAME: a technician's one-time code, for the cabinet's own page
    curl -s -H "Authorization: Bearer $O" -H "Idempotency-Key: $RANDOM$RANDOM" \
        -H "Content-Type: application/json" -d "{\"for\": \"$1\"}" "$U/v1/nodes/cab-demo/codes"
    echo
}
why() { lamplighter-edge why "$1" --config "$NODE_CONFIG" --endpoints "$NODE_ENDPOINTS"; }
