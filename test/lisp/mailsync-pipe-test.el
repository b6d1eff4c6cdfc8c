;;; mailsync-pipe-test.el --- Frames, whatever they are cut into  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'cl-lib)
(require 'ert)
(require 'mailsync-pipe)

(defun pipe-test-frame (generation sequence payload)
  "A frame."
  (concat (format "mailsync 1 %d %d %d\n" generation sequence (length payload))
          payload "\n"))

(defmacro pipe-test-with (&rest body)
  "Run BODY with a pipe of generation 3, and `records', `acks', `broken'."
  `(let* (records acks broken
          (pipe (mailsync-pipe-open 3 (lambda (record) (push record records))
                                    (lambda (_process why) (setq broken why)))))
     (cl-letf (((symbol-function 'mailsync-module--acknowledge)
                (lambda (generation sequence)
                  (push (list generation sequence (length records)) acks))))
       (unwind-protect
           (progn ,@body)
         (mailsync-pipe-close pipe)))))

(defun pipe-test-feed (pipe bytes size)
  "Give BYTES to the filter of PIPE in pieces of SIZE."
  (while (> (length bytes) 0)
    (let ((piece (substring bytes 0 (min size (length bytes)))))
      (setq bytes (substring bytes (length piece)))
      (mailsync-pipe--filter pipe piece))))

(defconst pipe-test-stream
  (concat (pipe-test-frame 3 1 "state\0w\0watching\0\0log\0info\0hello\0")
          (pipe-test-frame 3 2 "change\0w\0a\377\n b\0/m/\e[1m\r\0\0nf\0l\0007\000250\0")
          (pipe-test-frame 3 3 "")
          (pipe-test-frame 3 4 "answer\0s\0007\0000\0001\0004\0/a\0/b\0/c\0/d\0bye\0x\0"))
  "Four frames with every kind of record.")

(ert-deftest mailsync-pipe-any-split ()
  "However the bytes are cut, the records and acknowledgements are the same."
  (dolist (size (number-sequence 1 (length pipe-test-stream)))
    (pipe-test-with
     (pipe-test-feed pipe pipe-test-stream size)
     (should-not broken)
     (should (equal (nreverse records)
                    '(("state" "w" "watching" "") ("log" "info" "hello")
                      ("change" "w" "a\377\n b" "/m/\e[1m\r" "" "nf" "l" "7" "250")
                      ("answer" "s" "7" "0" "1" "4" "/a" "/b" "/c" "/d")
                      ("bye" "x"))))
     ;; Each is acknowledged before its own records are handed over.
     (should (equal (nreverse acks) '((3 1 0) (3 2 2) (3 3 3) (3 4 3)))))))

;; Security: S24.
(ert-deftest mailsync-pipe-every-byte ()
  "Every byte but NUL arrives as it was, in frames larger than one read."
  (pipe-test-with
   (let* ((name (apply #'unibyte-string (number-sequence 1 255)))
          (payload (concat "log\0" name "\0" (make-string 20000 ?x) "\0")))
     (pipe-test-feed pipe (pipe-test-frame 3 1 payload) 4096)
     (should (equal (nth 1 (car records)) name))
     (should (= 20000 (length (nth 2 (car records))))))))

(ert-deftest mailsync-pipe-stale ()
  "A frame of another generation is neither acknowledged nor handed over."
  (pipe-test-with
   (pipe-test-feed pipe (pipe-test-frame 2 9 "bye\0old\0") 7)
   (should-not (or records acks broken))
   (pipe-test-feed pipe (pipe-test-frame 3 0 "bye\0last words\0") 7)
   (should (equal records '(("bye" "last words"))))
   (should-not acks)))

;; Security: S24.
(ert-deftest mailsync-pipe-garbage ()
  "What does not parse closes the pipe and is said once; no error leaves the filter."
  (dolist (garbage
           (list "hello\n"
                 (make-string 200 ?x)
                 "mailsync 2 3 1 0\n\n"
                 "mailsync 1 3 1 99999999\n"
                 "mailsync 1 3 1 3\nabcd"
                 "mailsync 1 3 -1 3\n"
                 ;; Longer than a header is, whether it came in one piece or not.
                 (concat "mailsync 1 3 1 " (make-string 70 ?0) "\n\n")
                 (pipe-test-frame 3 1 "state\0w\0")
                 (pipe-test-frame 3 1 "change")
                 (pipe-test-frame 3 1 "nonsense\0x\0")
                 (pipe-test-frame 3 1 "answer\0s\0001\0000\0001\0005\0/a\0")
                 (pipe-test-frame 3 1 "(kill-emacs 7)\0")))
    (dolist (size '(1 1000))
      (pipe-test-with
       (pipe-test-feed pipe garbage size)
       (should-not records)
       (should-not (process-live-p pipe))
       (let ((end (+ (float-time) 5)))
         (while (and (not broken) (< (float-time) end))
           (accept-process-output nil 0.01)))
       (should (stringp broken))
       (should-not (process-buffer pipe))))))

(ert-deftest mailsync-pipe-ends ()
  "A deleted process is told; a closed pipe says nothing.
It has no buffer that could be killed or left."
  (pipe-test-with
   (should-not (process-buffer pipe))
   (should-not (seq-find (lambda (buffer)
                           (string-search "mailsync pipe" (buffer-name buffer)))
                         (buffer-list)))
   (delete-process pipe)
   (let ((end (+ (float-time) 5)))
     (while (and (not broken) (< (float-time) end))
       (accept-process-output nil 0.01)))
   (should (stringp broken)))
  (pipe-test-with
   (mailsync-pipe-close pipe)
   (accept-process-output nil 0.05)
   (should-not broken)))

(ert-deftest mailsync-pipe-none-is-left ()
  "A pipe that its owner does not know, since a quit came first, is closed, too."
  (pipe-test-with
   (let ((other (make-pipe-process :name "somebody else's" :noquery t)))
     (unwind-protect
         (progn
           (mailsync-pipe-close-all)
           (should-not (process-live-p pipe))
           (should-not (memq pipe (process-list)))
           (accept-process-output nil 0.05)
           (should-not broken)
           (should (process-live-p other)))
       (kill-buffer (process-buffer other))))))

(ert-deftest mailsync-pipe-names-survive ()
  "Names that are no UTF-8 come back to the same bytes."
  (dolist (bytes '("/m/plain" "/m/\303\251\346\227\245" "/m/x\377\376y" "/m/a\nb\tc%s\"&"))
    (should (equal bytes (mailsync-pipe-encode (mailsync-pipe-decode bytes))))
    (should (equal bytes (encode-coding-string (mailsync-pipe-decode-text bytes)
                                               'utf-8-unix)))))

(provide 'mailsync-pipe-test)
;;; mailsync-pipe-test.el ends here
