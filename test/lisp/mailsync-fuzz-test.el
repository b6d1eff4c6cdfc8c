;;; mailsync-fuzz-test.el --- Anything at all, said to what reads the module  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Frames and records that are seeded, damaged, and cut anywhere.  FUZZ=1000000
;; in the environment tries so many of each reader, FUZZ_FIRST=1000000 with it
;; others, FUZZ_CASE=17 the one that failed.  The readers in Rust are tried in
;; test/fuzz.

;;; Code:

(require 'cl-lib)
(require 'ert)
(require 'mailsync)
(require 'mailsync-discover)
(require 'mailsync-dispatch)
(require 'mailsync-folders)
(require 'mailsync-history)
(require 'mailsync-pipe)

;;;; Chance

(defun fuzz-number (name)
  "The number in the variable NAME of the environment, or nil."
  (let ((value (getenv name)))
    (and value (string-to-number value))))

(defun fuzz-each (reader usual function)
  "Call FUNCTION for each input of READER; USUAL times if FUZZ is not set.
The first is that of the number FUZZ_FIRST, or 0.
Meanwhile `random' is seeded by READER, a string, and the number of the input."
  ;; Many inputs are worth it.
  (mapatoms (lambda (symbol)
              (when (and (string-prefix-p "fuzz-" (symbol-name symbol))
                         (functionp symbol)
                         (not (byte-code-function-p (symbol-function symbol))))
                (byte-compile symbol))))
  (let* ((only (fuzz-number "FUZZ_CASE"))
         (first (or only (fuzz-number "FUZZ_FIRST") 0))
         (case first)
         (end (+ first (if only 1 (or (fuzz-number "FUZZ") usual))))
         (gc-cons-threshold (* 64 1024 1024))
         (began (float-time)))
    (while (< case end)
      (random (format "%s %d" reader case))
      (condition-case err
          (funcall function)
        (error
         (message "%s: FUZZ_CASE=%d" reader case)
         (signal (car err) (cdr err))))
      (setq case (1+ case))
      (when (zerop (% (- case first) 100000))
        (message "%s: %d inputs so far" reader (- case first))))
    (message "%s: %d inputs in %.1f s" reader (- end first) (- (float-time) began))))

(defun fuzz-choose (list)
  "One of the elements of LIST."
  (nth (random (length list)) list))

(defun fuzz-bytes (most)
  "Up to MOST bytes, none of them NUL."
  (let ((bytes (make-string (random (1+ most)) ?a)))
    (dotimes (at (length bytes))
      (aset bytes at (if (zerop (random 3)) (1+ (random 255)) (+ ?a (random 26)))))
    (string-to-unibyte (if (zerop (random 4))
                           (concat bytes (fuzz-choose fuzz-texts))
                         bytes))))

(defconst fuzz-texts
  (mapcar (lambda (text) (encode-coding-string text 'utf-8-unix))
          '("Entwürfe" "日本語/é" "INBOX" "50%s" "a\nb" "\e[1m" "(kill-emacs 7)" "a\r\n"
            "#1=(1 . #1#)" "\"" "`x'" "\u2028"))
  "Names and texts that somebody may take for something else.")

(defconst fuzz-words
  (append '("\n" "\0" " " "\377" "mailsync " "mailsync 1 3 1 " "mailsync 1 3 1 0\n\n"
            "mailsync 1 3 2 4\nbye\0\n" "mailsync 1 3 1 99999999\n" "bye\0" "change\0"
            "answer\0s\0001\0000\0001\00099999999999\0" "synced\0" "log\0info\0"
            "state\0w\0watching\0\0" "-1" "999999999999999999999999"
            "0000000000000000000000000000000000000000")
          fuzz-texts)
  "What means something in a frame.")

(defun fuzz-damage (bytes)
  "BYTES with something done to them."
  (let* ((length (length bytes))
         (at (random (1+ length))))
    (pcase (random 6)
      (0 (substring bytes 0 at))
      (1 (concat (substring bytes 0 at)
                 (substring bytes (min length (+ at 1 (random 8))))))
      (2 (if (= at length) bytes
           (concat (substring bytes 0 at) (unibyte-string (random 256))
                   (substring bytes (1+ at)))))
      (3 (let ((end (min length (+ at (random 30)))))
           (concat (substring bytes 0 end) (substring bytes at))))
      (_ (concat (substring bytes 0 at) (fuzz-choose fuzz-words)
                 (substring bytes at))))))

;;;; Records and frames

(defun fuzz-field (name at)
  "The field AT of a record NAME, mostly one as the module has it."
  (pcase (and (< 0 (random 8)) (list name at))
    (`("change" 4) (fuzz-choose '("n" "f" "nf" "cd" "u" "")))
    (`("change" 5) (fuzz-choose '("l" "s" "r" "lsr")))
    (`("change" 6) (number-to-string (random 1000)))
    (`("change" 7) (fuzz-choose '("" "0" "250")))
    ((or `("change" 0) `(,_ 0)) (fuzz-choose '("w" "v" "w" "gone")))
    (`("change" 1) (fuzz-choose '("INBOX" "a/b" "x\303\251")))
    (`("change" 2) (fuzz-choose '("/m/INBOX" "/m/a/b" "")))
    (`("state" 1) (fuzz-choose '("starting" "watching" "waiting" "error")))
    (`("sync" 1) (fuzz-choose '("idle" "running" "waiting" "elsewhere")))
    (`("sync" 3) (fuzz-choose '("0" "3" "all")))
    (`("remote" 3) (fuzz-choose '("starting" "connected" "waiting" "paused" "gone")))
    (`("synced" 2) (fuzz-choose '("ok" "partial" "transient" "auth" "config" "locked"
                                  "interrupted" "timeout")))
    (`("synced" ,(or 4 5)) "1700000000.250")
    (`("synced" 6) (fuzz-choose '("" "1" "1 2 3")))
    (`(,_ ,(or 1 2)) (number-to-string (random 4)))
    (_ (fuzz-bytes 12))))

(defun fuzz-record (&optional among)
  "A record as the module could write it; its name is one of AMONG."
  (let* ((form (fuzz-choose (or among mailsync-pipe--records)))
         (count (nth 1 form))
         (name (car form))
         (fields (cl-loop for at below count collect (fuzz-field name at))))
    (if (null (nth 2 form))
        (cons name fields)
      ;; So many follow as the last one says.
      (let ((more (random 4)))
        (setcar (last fields) (number-to-string more))
        (cons name (append fields (cl-loop repeat (* more (nth 2 form))
                                           collect (fuzz-bytes 8))))))))

(defun fuzz-frame (generation sequence records)
  "A frame of RECORDS, with GENERATION and SEQUENCE."
  (let ((payload (mapconcat (lambda (record)
                              (mapconcat (lambda (field) (concat field "\0")) record ""))
                            records "")))
    (concat (format "mailsync 1 %d %d %d\n" generation sequence (length payload))
            payload "\n")))

(defun fuzz-pieces (bytes)
  "BYTES, cut into a list of pieces."
  (let ((most (fuzz-choose '(1 1 2 7 100)))
        pieces)
    (while (> (length bytes) 0)
      (let ((size (min (length bytes) (1+ (random most)))))
        (push (substring bytes 0 size) pieces)
        (setq bytes (substring bytes size))))
    (nreverse pieces)))

;;;; The pipe

(defvar fuzz-heard nil
  "What was acknowledged and handed over, newest first.")

(defvar fuzz-broken nil
  "How often the pipe broke.")

(defun fuzz-hear (pipe pieces)
  "Have PIPE read PIECES, as Emacs would call its filter.
Return what was handed over and acknowledged, in order, consed to non-nil if the
pipe broke then."
  (setq fuzz-heard nil
        fuzz-broken 0)
  (dolist (property '(mailsync-pieces mailsync-count mailsync-need))
    (process-put pipe property nil))
  ;; Of a pipe that was closed nothing more is read.
  (while (and pieces (zerop fuzz-broken))
    (mailsync-pipe--filter pipe (pop pieces))
    (let ((held (process-get pipe 'mailsync-count)))
      (when (and (zerop fuzz-broken) (> held mailsync-pipe--longest))
        (error "The pipe holds %d bytes" held))))
  (when (> fuzz-broken 1)
    (error "It broke %d times" fuzz-broken))
  (cons (= fuzz-broken 1) (reverse fuzz-heard)))

(defvar fuzz-pipe nil
  "The pipe.")

(defun fuzz-try-pipe ()
  "Have the pipe read frames, what is damaged of them, and that cut otherwise."
  (let ((bytes "") expected)
    (dotimes (_ (random 3))
      (let ((sequence (random 4))
            (generation (if (zerop (random 4)) 2 3))
            (records (cl-loop repeat (random 3) collect (fuzz-record))))
        (setq bytes (concat bytes (fuzz-frame generation sequence records)))
        (when (= generation 3)
          (unless (zerop sequence)
            (push (list 'acknowledged 3 sequence) expected))
          (setq expected (append (reverse records) expected)))))
    ;; What is written is read.
    (unless (equal (fuzz-hear fuzz-pipe (fuzz-pieces bytes))
                   (cons nil (nreverse expected)))
      (error "Not as it was written: %S" bytes))
    (dotimes (_ (1+ (random 3)))
      (setq bytes (fuzz-damage bytes)))
    (let ((whole (fuzz-hear fuzz-pipe (list bytes))))
      (unless (equal whole (fuzz-hear fuzz-pipe (fuzz-pieces bytes)))
        (error "It matters how it is cut: %S" bytes)))))

(ert-deftest mailsync-fuzz-pipe ()
  "Whatever comes through the pipe, and however it is cut, the filter reads it.
What comes before what is no frame is read; that closes the pipe, once."
  (setq fuzz-pipe (mailsync-pipe-open 3 (lambda (record) (push record fuzz-heard))
                                      #'ignore))
  (unwind-protect
      (cl-letf (((symbol-function 'mailsync-module--acknowledge)
                 (lambda (generation sequence)
                   (push (list 'acknowledged generation sequence) fuzz-heard)))
                ;; A process for each input would take the time; mailsync-pipe-test.el has some.
                ((symbol-function 'mailsync-pipe--break)
                 (lambda (_process why)
                   (unless (stringp why)
                     (error "No text: %S" why))
                   (cl-incf fuzz-broken))))
        (fuzz-each "pipe" 4000 #'fuzz-try-pipe))
    (mailsync-pipe-close fuzz-pipe)))

(defun fuzz-try-names ()
  "Have a name decoded and encoded."
  (let ((bytes (fuzz-bytes 12)))
    (dotimes (_ (random 3))
      (setq bytes (replace-regexp-in-string "\0" "" (fuzz-damage bytes) t t)))
    (unless (equal bytes (mailsync-pipe-encode (mailsync-pipe-decode bytes)))
      (error "As a file: %S" bytes))
    (unless (equal bytes (encode-coding-string (mailsync-pipe-decode-text bytes)
                                               'utf-8-unix))
      (error "As a text: %S" bytes))))

(ert-deftest mailsync-fuzz-names ()
  "Any bytes of a name or a text come back as they were."
  (fuzz-each "names" 4000 #'fuzz-try-names))

;;;; What becomes of records

(defmacro fuzz-with-dispatch (&rest body)
  "Run BODY with two accounts, and nobody who does anything.
What mailsync says of mistakes of its own is an error."
  `(let ((mailsync--running (list 'fuzz))
         (mailsync-accounts '(("w" :maildir "/m") ("v" :maildir "/v")))
         (mailsync--pipe nil)
         (mailsync--states (list (list "w" 'starting) (list "v" 'starting)))
         (mailsync-sync--states (list (list "w" :phase 'idle :pending 0 :text "")))
         (mailsync-history-size 20)
         (mailsync-mode t)
         (mailsync-changed-functions nil)
         (mailsync-check-function
          (lambda (_account changes done)
            (funcall done (mapcar (lambda (change)
                                    (cons (plist-get change :folder)
                                          (fuzz-choose '(checked no-group failed))))
                                  changes)))))
     (cl-letf (((symbol-function 'mailsync-module--checked) #'ignore)
               ((symbol-function 'mailsync-module--check) #'ignore)
               ((symbol-function 'mailsync-module--planned) #'ignore)
               ((symbol-function 'mailsync-status-update) #'ignore)
               ((symbol-function 'mailsync-imap-wanted) #'ignore)
               ((symbol-function 'mailsync--engine-ended) #'ignore)
               ((symbol-function 'mailsync--say) #'ignore)
               ((symbol-function 'mailsync-log-add)
                (lambda (_level format &rest args)
                  (let ((text (apply #'format-message format args)))
                    (when (string-prefix-p "internal error" text)
                      (error "%s" text)))))
               ;; Only what is to be done at once.  Timers that never run would be ever more.
               ((symbol-function 'run-at-time) (lambda (&rest _) 'timer))
               ((symbol-function 'mailsync--soon) (lambda (&rest _) 'timer))
               ((symbol-function 'mailsync--account-names) (lambda () '("w" "v"))))
       (unwind-protect (progn ,@body)
         (setq mailsync--timer nil
               mailsync--incoming-notices nil
               mailsync--requests nil)
         (clrhash mailsync--batches)
         (clrhash mailsync--unchecked)
         (mailsync-history-keep nil)
         (setq mailsync-history--stories nil)
         (mailsync-history-cut-off)))))

(defun fuzz-try-dispatch ()
  "Have some records received and seen to."
  (let ((records (cl-loop repeat (random 6) collect (fuzz-record))))
    (mapc #'mailsync--receive records)
    (mailsync--dispatch)
    (when (or mailsync--incoming-notices mailsync--timer
              (> (hash-table-count mailsync--incoming) 0)
              (> (hash-table-count mailsync--unchecked) 0)
              (> (hash-table-count mailsync--batches) 0))
      (error "Something is left of %S" records))
    (when (> (length mailsync-history--stories) mailsync-history-size)
      (error "%d stories" (length mailsync-history--stories)))
    (when (> (hash-table-count mailsync-history--of-changes) 0)
      (error "Changes that are checked are kept"))
    (dolist (story mailsync-history--stories)
      (unless (stringp (mailsync-history-tell story))
        (error "No sentence: %S" story)))
    (pcase (random 100)
      (0 (mailsync-history-keep '("w")))
      (1 (mailsync-history-keep nil)))))

(ert-deftest mailsync-fuzz-dispatch ()
  "Records with anything in their fields are seen to; what is remembered is bounded."
  (let ((mailsync--incoming (make-hash-table :test #'equal))
        (mailsync--unchecked (make-hash-table :test #'equal))
        (mailsync--batches (make-hash-table :test #'eq)))
    (fuzz-with-dispatch (fuzz-each "dispatch" 2000 #'fuzz-try-dispatch))))

(defun fuzz-try-answers ()
  "Give an answer in parts."
  (let* ((parts (1+ (random 4)))
         (fields (cl-loop repeat parts
                          collect (cl-loop repeat (random 3) collect (fuzz-bytes 6))))
         (order (cl-loop for part below parts collect (cons (random 100) part)))
         (slot (fuzz-choose '("a" "b")))
         given)
    (mailsync--errand slot #'ignore (lambda (answer) (push answer given)))
    (let ((request mailsync--request))
      (dotimes (_ (random 3))
        (push (cons (random 100) (random parts)) order))
      (pcase-dolist (`(,_ . ,part) (sort order #'car-less-than-car))
        ;; What was asked for before, or by somebody else, is nobody's.
        (mailsync--answered slot (1- request) part parts '("old"))
        (mailsync--answered "c" request part parts '("other"))
        (mailsync--answered slot request part parts
                            (copy-sequence (nth part fields)))))
    (unless (equal given (list (apply #'append fields)))
      (error "Not as it was given: %S of %S" given fields))
    (when mailsync--requests
      (error "Left: %S" mailsync--requests))))

(ert-deftest mailsync-fuzz-answers ()
  "The parts of an answer come in any order, some twice; it is given once, whole."
  (let (mailsync--requests)
    (fuzz-each "answers" 2000 #'fuzz-try-answers)))

(defun fuzz-try-folders ()
  "Have rows of folders, and proposals of accounts, read."
  (let* ((rows (cl-loop repeat (random 4)
                        collect (list (fuzz-bytes 4) (fuzz-bytes 8) (fuzz-bytes 8)
                                      (fuzz-bytes 8) (fuzz-choose '("" "wr" "u"))
                                      (fuzz-choose '("" "250" "x")) (fuzz-bytes 8))))
         (read (mailsync-folders--parse (apply #'append rows))))
    (unless (= (length rows) (length read))
      (error "%d rows of %d" (length read) (length rows)))
    (cl-mapc (lambda (row fields)
               (unless (equal (nth 1 fields)
                              (encode-coding-string (mailsync-folders-row-name row)
                                                    'utf-8-unix))
                 (error "Not as it was: %S" fields)))
             read rows))
  (let ((fields (list "account" (fuzz-bytes 4) (fuzz-choose '("t" "")))))
    (dotimes (_ (random 6))
      (setq fields (append fields
                           (list (fuzz-choose '("maildir" "syncer" "choice" "remote"
                                                "reason" "remark" "else"))
                                 (fuzz-choose '("host" "port" "user" "tls" "/m"))
                                 (fuzz-bytes 6)))))
    ;; Half of an answer is none.
    (when (mailsync-discover--read fields)
      (error "It is not whole: %S" fields))
    (unless (= 1 (length (car (mailsync-discover--read
                               (append fields '("end" "" ""))))))
      (error "Not one account: %S" fields))))

(ert-deftest mailsync-fuzz-folders ()
  "Rows of folders and proposals of accounts are read, whatever is in them."
  (fuzz-each "folders" 1000 #'fuzz-try-folders))

(provide 'mailsync-fuzz-test)
;;; mailsync-fuzz-test.el ends here
