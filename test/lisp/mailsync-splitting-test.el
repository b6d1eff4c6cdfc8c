;;; mailsync-splitting-test.el --- Tests of Gnus splitting mail  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What a real Gnus makes of mail that arrives where it splits mail, as
;; tables: rules of every kind, right and wrong ones, in nnimap with a real
;; Dovecot and in the back ends that have mail sources.  After each row
;; every message is looked for on the disk: it is where the row says, once,
;; and Gnus's counts are those of the files.

;;; Code:

(require 'mailsync-sources-test-helper)
(require 'nnmail)

;;;; Rules

(defvar mailsync-splitting-test--slow 0
  "How many seconds the rules take for a message.")

(defvar mailsync-splitting-test--people
  (let ((table (make-hash-table :test #'equal)))
    (puthash "ada@example.invalid" "folder000" table)
    table)
  "Whose mail goes where, as a BBDB has it.")

(defun mailsync-splitting-test--rule ()
  "The groups of the current message, by its subject."
  (let ((subject (mail-fetch-field "subject"))
        (end (+ (float-time) mailsync-splitting-test--slow)))
    (while (< (float-time) end))
    (pcase (car (last (split-string subject)))
      ("one" (list "folder000"))
      ("two" (list "folder001"))
      ("both" (list "folder000" "folder001"))
      ("bad" (error "No rule of mine"))
      ("asks" (and (y-or-n-p "Into the first one? ") (list "folder000")))
      ("string" "folder000")
      ("number" (list 42))
      ("junk" (list 'junk))
      ("new" (list "madebysplit"))
      ("refused" (list "not//a/name")))))

(defun mailsync-splitting-test--fancy-rule ()
  "The group of the current message, by its subject."
  (car (mailsync-splitting-test--rule)))

(defun mailsync-splitting-test--by-sender ()
  "The group of whoever has sent the current message, as BBDB users have it."
  (gethash (mail-fetch-field "x-sender") mailsync-splitting-test--people))

(defun mailsync-splitting-test--default (list rest)
  "Rules that send what has \"one\" or \"two\" to LIST, else to REST if non-nil."
  `((,(nth 0 list) "^Subject:.* one$") (,(nth 1 list) "^Subject:.* two$")
    ,@(and rest `((,rest "")))))

(defconst mailsync-splitting-test--rules
  '((((nnimap-split-methods (("folder000" "^Subject:.* one$")
                             ("folder001" "^Subject:.* two$"))))
     "one folder000" "two folder001" "other INBOX")
    (((nnimap-split-methods nnmail-split-fancy)
      (nnimap-split-fancy (| ("subject" "one" "folder000")
                             ("subject" "two" "folder001"))))
     "one folder000" "two folder001" "other INBOX")
    (((nnimap-split-methods default))
     "one folder000" "two folder001" "other INBOX")
    (((nnimap-inbox ("INBOX" "folder002"))
      (nnimap-split-methods mailsync-splitting-test--rule))
     "one folder000" "two folder001" "other INBOX" "both folder000 folder001")
    ;; What BBDB's users have.
    (((nnimap-split-methods nnmail-split-fancy)
      (nnimap-split-fancy (| (: mailsync-splitting-test--by-sender)
                             ("subject" "two" "folder001"))))
     ("of a friend" "folder000" "X-Sender: ada@example.invalid")
     ("of a stranger" "INBOX" "X-Sender: eve@example.invalid") "two folder001")
    (((nnimap-split-methods nnmail-split-fancy)
      (nnimap-split-fancy (& "folder000" (: mailsync-splitting-test--fancy-rule))))
     "one folder000" "two folder000 folder001" "other folder000")
    ;; A group that is not there is made.
    (((nnimap-split-methods mailsync-splitting-test--rule))
     "new madebysplit" "other INBOX")
    ;; Rules that are wrong.
    (((nnimap-split-methods mailsync-splitting-test--rule))
     "one folder000" "bad INBOX" "two folder001" "one folder000" "two folder001"
     "one folder000" "other INBOX" "two folder001" "one folder000" "two folder001"
     said "No rule of mine")
    (((nnimap-split-methods nnmail-split-fancy)
      (nnimap-split-fancy (| (: mailsync-splitting-test--fancy-rule) "folder001")))
     "bad INBOX" "other folder001" "one folder000" said "No rule of mine")
    (((nnimap-split-methods (("folder000" "^Subject:.* one$")
                             ("folder001" (lambda (_) (error "Wrong rule")))
                             ("folder001" "^Subject:.* two$"))))
     "one folder000" "two folder001" "other INBOX" said "Wrong rule")
    (((nnimap-split-methods mailsync-splitting-test--rule))
     "asks INBOX" "one folder000" said "mailsync-splitting-test--rule is wrong")
    (((nnimap-split-methods mailsync-splitting-test--rule))
     "string INBOX" "one folder000" said "cannot be \"folder000\"")
    (((nnimap-split-methods mailsync-splitting-test--rule))
     "number INBOX" "one folder000" said "cannot be (42)")
    (((nnimap-split-methods mailsync-splitting-test--rule))
     "refused INBOX" "one folder000")
    ;; The last: Gnus marks it as deleted, but counts it until the server
    ;; is opened again, as after a deletion by another program.
    (((nnimap-split-methods mailsync-splitting-test--rule))
     "junk INBOX" "one folder000"))
  "Definitions of an nnimap server, and where it has messages go.
Each is a string: the last word of the subject, and folders.
After `said' comes what is said about it, once.")

;;;; A Gnus with nnimap

(defvar mailsync-splitting-test--server nil "Name of the server of a row.")

(defun mailsync-splitting-test--serve (&rest definitions)
  "Give Gnus another server with DEFINITIONS, open it, subscribe its groups."
  (let* ((name (format "%s-%d" mailsync-gnus-test--name
                       (length gnus-secondary-select-methods)))
         (method `(nnimap ,name (nnimap-address "127.0.0.1")
                          (nnimap-server-port ,mailsync-gnus-test--imap-port)
                          (nnimap-stream network)
                          ,@definitions
                          ,@(unless (assq 'nnimap-inbox definitions)
                              '((nnimap-inbox "INBOX"))))))
    ;; Dovecot allows ten connections.
    (mailsync-gnus--imap-close-all)
    (when gnus-secondary-select-methods
      (gnus-close-server (car (last gnus-secondary-select-methods))))
    (setq gnus-secondary-select-methods
          (append gnus-secondary-select-methods (list method))
          mailsync-splitting-test--server name
          mailsync-gnus-test--accounts `(("home" :gnus-server ,name)))
    (should (gnus-open-server method))
    (dolist (folder '("INBOX" "folder000" "folder001" "folder002"))
      (let ((group (mailsync-splitting-test--group folder)))
        (gnus-subscribe-group group nil method)
        (gnus-activate-group group nil nil method)))
    (mailsync-gnus-check)
    method))

(defun mailsync-splitting-test--group (folder)
  "The group that shows FOLDER."
  (format "nnimap+%s:%s" mailsync-splitting-test--server folder))

(defun mailsync-splitting-test--where (subject)
  "The folders with a message that has SUBJECT, once for each message."
  (with-temp-buffer
    (call-process "grep" nil t nil "-rlx" "--exclude=dovecot*"
                  (concat "Subject: " subject) (mailsync-gnus-test--directory "INBOX"))
    (sort (mapcar (lambda (file)
                    (let ((folder (file-name-nondirectory
                                   (directory-file-name
                                    (file-name-directory
                                     (directory-file-name
                                      (file-name-directory file)))))))
                      (if (equal folder "mail") "INBOX" (substring folder 1))))
                  (split-string (buffer-string) "\n" t))
          #'string<)))

(defun mailsync-splitting-test--right-counts ()
  "Fail unless Gnus's counts are those of the files."
  (dolist (folder '("INBOX" "folder000" "folder001" "folder002"))
    (should (equal (list folder (fixture-unread
                                 (mailsync-splitting-test--group folder)))
                   (list folder (length (mailsync-gnus-test--unseen folder)))))))

(defun mailsync-splitting-test--said ()
  "Errors and warnings in the log, without what came with them."
  (cl-remove-if (lambda (line) (string-match-p "\\`info" line))
                mailsync-gnus-test--log))

(defun mailsync-splitting-test--own (folder)
  "Let Dovecot have FOLDER and what is in it, as all the rest."
  (should (eql 0 (call-process "chown" nil nil nil "-R" "--reference"
                               (mailsync-gnus-test--directory "INBOX")
                               (mailsync-gnus-test--directory folder)))))

(defun mailsync-splitting-test--call (function)
  "Call FUNCTION in a Gnus with a Dovecot, its inbox all read."
  (mailsync-gnus-test--with '(nnimap) nil
    (mapc #'mailsync-gnus-test--mark-seen (mailsync-gnus-test--unseen "INBOX"))
    (mailsync-sources-test--maildir (mailsync-gnus-test--directory "folder002"))
    (mailsync-splitting-test--own "folder002")
    (let ((mailsync-splitting-test--server nil)
          (mailsync-gnus--split-pace nil)
          (mailsync-sources-test--once nil)
          (nnmail-split-methods (mailsync-splitting-test--default
                                 '("folder000" "folder001") nil)))
      (cl-letf (((symbol-function 'mailsync--once)
                 (lambda (key level format &rest args)
                   (unless (member key mailsync-sources-test--once)
                     (push key mailsync-sources-test--once)
                     (apply #'mailsync-log-add level format args)))))
        (unwind-protect (funcall function)
          ;; After a failure: Gnus would ask what is to become of it.
          (dolist (buffer (buffer-list))
            (with-current-buffer buffer
              (when (derived-mode-p 'gnus-summary-mode)
                (kill-buffer buffer)))))))))

(defmacro mailsync-splitting-test--with (&rest body)
  "Evaluate BODY in a Gnus with a Dovecot."
  (declare (indent 0))
  `(mailsync-splitting-test--call (lambda () ,@body)))

(defun mailsync-splitting-test--check (&rest folders)
  "Have FOLDERS checked, in this order; return what they brought."
  (pcase-let ((`(,results ,news)
               (apply #'mailsync-gnus-test--check
                      (mapcar (lambda (folder)
                                (mailsync-gnus-test--change folder 'new))
                              folders))))
    (ert-info ((format "%S" mailsync-gnus-test--log))
      (should (equal results (mapcar (lambda (folder) (cons folder 'checked))
                                     folders))))
    (apply #'append (mapcar (lambda (change) (plist-get change :groups)) news))))

(defun mailsync-splitting-test--row (row)
  "Deliver what ROW of `mailsync-splitting-test--rules' says, and look for it."
  (pcase-let* ((`(,definitions . ,mail) row)
               (said (cadr (memq 'said mail)))
               (mail (cl-loop for message in mail
                              until (eq message 'said) collect message))
               (number 0)
               (expected nil)
               (log (mailsync-splitting-test--said)))
    ;; What is read is not split.
    (mapc #'mailsync-gnus-test--mark-seen (mailsync-gnus-test--unseen "INBOX"))
    (setq mailsync-sources-test--once nil
          mailsync-gnus--last-error nil)
    (apply #'mailsync-splitting-test--serve definitions)
    (dolist (message mail)
      (pcase-let* ((`(,word ,folders ,header)
                    (if (consp message) message
                      (let ((words (split-string message)))
                        (list (car words) (string-join (cdr words) " ")))))
                   (subject (format "%s %d %s" mailsync-splitting-test--server
                                    (cl-incf number) word)))
        (apply #'mailsync-gnus-test--run "deliver.sh"
               (mailsync-gnus-test--directory "INBOX") subject
               (and header (list header)))
        (push (cons subject (split-string folders)) expected)))
    (dotimes (_ 2)
      (mailsync-splitting-test--check "INBOX")
      (dolist (message expected)
        (should (equal (cons (car message)
                             (mailsync-splitting-test--where (car message)))
                       message)))
      (mailsync-splitting-test--right-counts))
    (let ((new (butlast (mailsync-splitting-test--said) (length log))))
      (if (not said)
          (should (equal new nil))
        (should (= 1 (length new)))
        (should (string-match-p (regexp-quote said) (car new)))
        (should (plist-get (mailsync-gnus-status) :last-error))))))

(ert-deftest mailsync-splitting-test-imap-rules ()
  "Rules of every kind, the wrong ones too: nothing is lost, all is counted."
  (mailsync-splitting-test--with
    (dolist (row mailsync-splitting-test--rules)
      (ert-info ((format "%S" row))
        (mailsync-splitting-test--row row)))
    (should (equal "unknown to Gnus"
                   (cdr (cl-find-if (lambda (entry)
                                      (string-suffix-p ":madebysplit" (car entry)))
                                    (plist-get (mailsync-gnus-status)
                                               :left-alone)))))))

;;;; What else happens meanwhile

(defvar mailsync-splitting-test--scans 0 "How often Gnus was made to split.")

(defun mailsync-splitting-test--deliver (folder word)
  "Deliver a message into FOLDER with a subject that ends with WORD; return that."
  (let ((subject (format "%s %d %s" mailsync-splitting-test--server
                         (cl-incf mailsync-gnus-test--number) word)))
    (mailsync-gnus-test--deliver folder subject)
    subject))

(defmacro mailsync-splitting-test--counting (scans &rest body)
  "Evaluate BODY; fail unless Gnus was made to split SCANS times."
  (declare (indent 1))
  `(let ((mailsync-splitting-test--scans 0))
     (cl-letf* ((scan (symbol-function 'gnus-request-scan))
                ((symbol-function 'gnus-request-scan)
                 (lambda (&rest args)
                   (cl-incf mailsync-splitting-test--scans)
                   (apply scan args))))
       ,@body)
     (should (= ,scans mailsync-splitting-test--scans))))

(defun mailsync-splitting-test--goes (from word to)
  "A message with WORD that is delivered into FROM goes TO; all is counted."
  (let ((subject (mailsync-splitting-test--deliver from word)))
    (mailsync-splitting-test--check from)
    (should (equal (mailsync-splitting-test--where subject) (list to)))
    (mailsync-splitting-test--right-counts)))

(ert-deftest mailsync-splitting-test-imap-inboxes ()
  "Several inboxes are split at once, before any of them is checked."
  (mailsync-splitting-test--with
    (mailsync-splitting-test--serve '(nnimap-inbox ("inbox" "folder002"))
                                    '(nnimap-split-methods default))
    (mailsync-splitting-test--goes "INBOX" "one" "folder000")
    (mailsync-splitting-test--goes "folder002" "two" "folder001")
    (mailsync-splitting-test--goes "folder002" "other" "folder002")
    ;; Another folder of the server has its turn first.
    (dolist (folders '(("folder000" "INBOX") ("INBOX" "folder000")))
      (let ((subject (mailsync-splitting-test--deliver "INBOX" "one")))
        (mailsync-splitting-test--counting 1
          (apply #'mailsync-splitting-test--check folders))
        (should (equal (mailsync-splitting-test--where subject) '("folder000")))
        (mailsync-splitting-test--right-counts)))
    ;; Both at once.
    (let ((one (mailsync-splitting-test--deliver "INBOX" "one"))
          (two (mailsync-splitting-test--deliver "folder002" "two")))
      (mailsync-splitting-test--counting 1
        (mailsync-splitting-test--check "folder002" "INBOX"))
      (should (equal (mailsync-splitting-test--where one) '("folder000")))
      (should (equal (mailsync-splitting-test--where two) '("folder001")))
      (mailsync-splitting-test--right-counts))
    ;; What is split on the way is counted as well.
    (mailsync-splitting-test--deliver "folder002" "two")
    (mailsync-splitting-test--check "folder002")
    (mailsync-splitting-test--deliver "folder002" "one")
    (mailsync-splitting-test--goes "INBOX" "one" "folder000")
    ;; The next change is split again.
    (mailsync-splitting-test--goes "folder002" "one" "folder000")
    ;; A rule that the user changes is obeyed from then on.
    (setq nnmail-split-methods
          (mailsync-splitting-test--default '("folder001" "folder000") nil))
    (mailsync-splitting-test--goes "INBOX" "one" "folder001")
    (should-not (mailsync-splitting-test--said))))

(ert-deftest mailsync-splitting-test-imap-users ()
  "What the user does with the groups and in them meanwhile is respected."
  (mailsync-splitting-test--with
    (mailsync-splitting-test--serve '(nnimap-split-methods default))
    (let ((inbox (mailsync-splitting-test--group "INBOX"))
          (list (mailsync-splitting-test--group "folder000"))
          (gnus-summary-respool-default-method
           (car (last gnus-secondary-select-methods))))
      ;; In the middle of reading, with marks that are not stored yet.
      (mailsync-splitting-test--goes "INBOX" "other" "INBOX")
      (mailsync-splitting-test--goes "INBOX" "also other" "INBOX")
      (gnus-group-read-group t t inbox)
      (let ((summary (current-buffer)))
        (goto-char (point-max))
        (forward-line -1)
        (gnus-summary-tick-article)
        (gnus-summary-goto-article (car gnus-newsgroup-unreads))
        (set-buffer summary)
        (mailsync-splitting-test--deliver "INBOX" "third other")
        (let ((one (mailsync-splitting-test--deliver "INBOX" "one")))
          (mailsync-splitting-test--check "INBOX")
          (should (equal (mailsync-splitting-test--where one) '("folder000"))))
        (set-buffer summary)
        (gnus-summary-exit))
      (should (= 1 (cl-count-if (lambda (file)
                                  (string-match-p ":2,[A-Z]*F" file))
                                (mailsync-gnus-test--files "INBOX"))))
      (mailsync-gnus-check)
      (dolist (folder '("folder000" "folder001" "folder002"))
        (should (= (fixture-unread (mailsync-splitting-test--group folder))
                   (length (mailsync-gnus-test--unseen folder)))))
      (let ((count (fixture-unread inbox)))
        (with-current-buffer gnus-group-buffer (gnus-group-get-new-news))
        (should (= count (fixture-unread inbox))))
      ;; A trace changes nothing; to respool is to move one.
      (let ((subject (mailsync-splitting-test--deliver "INBOX" "one"))
            (mailsync-gnus-split nil))
        (mailsync-splitting-test--check "INBOX")
        (gnus-group-read-group t t inbox)
        (goto-char (point-min))
        (search-forward subject)
        (gnus-summary-select-article)
        (gnus-summary-respool-trace)
        (when (get-buffer "*Split Trace*") (kill-buffer "*Split Trace*"))
        (should (equal (mailsync-splitting-test--where subject) '("INBOX")))
        (with-current-buffer gnus-summary-buffer
          (gnus-summary-respool-article 1 gnus-summary-respool-default-method)
          (gnus-summary-exit))
        (mailsync-splitting-test--check "INBOX" "folder000")
        (should (equal (mailsync-splitting-test--where subject) '("folder000")))
        (should (= (fixture-unread list)
                   (length (mailsync-gnus-test--unseen "folder000")))))
      ;; Groups that the user does not want to see.
      (mapc #'mailsync-gnus-test--mark-seen (mailsync-gnus-test--unseen "INBOX"))
      (dolist (away
               (list (lambda () (gnus-group-change-level list 6))
                     (lambda () (setf (gnus-info-level (gnus-get-info list)) 8))
                     (lambda ()
                       (setf (gnus-info-level (gnus-get-info list)) 3)
                       (gnus-group-list-groups 5 t)
                       (gnus-group-jump-to-group list)
                       (gnus-group-kill-group))))
        (with-current-buffer gnus-group-buffer (funcall away))
        (let ((subject (mailsync-splitting-test--deliver "INBOX" "one")))
          (mailsync-splitting-test--check "INBOX")
          (should (equal (mailsync-splitting-test--where subject)
                         '("folder000")))))
      (should (equal "killed"
                     (cdr (assoc list (plist-get (mailsync-gnus-status)
                                                 :left-alone)))))
      (should-not (mailsync-splitting-test--said)))))

;;;; How long it takes

(defun mailsync-splitting-test--deliver-many (folder number)
  "Put NUMBER messages into FOLDER, a half for each of two other folders."
  (dotimes (i number)
    (write-region (format "Subject: many %d %s\nMessage-ID: <%d.%s@many.invalid>\n\nMany\n"
                          i (if (cl-evenp i) "one" "two") i
                          mailsync-splitting-test--server)
                  nil
                  (expand-file-name (format "new/%d.fixture" (+ 1700000000 i))
                                    (mailsync-gnus-test--directory folder))
                  nil 'silent))
  (mailsync-splitting-test--own folder))

(defmacro mailsync-splitting-test--slices (&rest body)
  "Evaluate BODY; return the seconds that each piece of work took, longest first."
  (declare (indent 0))
  `(let ((times nil))
     (cl-letf* ((split (symbol-function 'mailsync-gnus--split-claimed))
                ((symbol-function 'mailsync-gnus--split-claimed)
                 (lambda (group)
                   (let ((begun (float-time)))
                     (funcall split group)
                     (push (- (float-time) begun) times)))))
       ,@body)
     (sort times #'>)))

(ert-deftest mailsync-splitting-test-imap-slow ()
  "Slow rules split a message or two in one go, and no message twice."
  (mailsync-splitting-test--with
    (mailsync-splitting-test--serve
     '(nnimap-split-methods mailsync-splitting-test--rule))
    (mailsync-splitting-test--goes "INBOX" "other" "INBOX")
    (let* ((mailsync-splitting-test--slow 0.4)
           ;; Shorter than what the rules take.
           (mailsync-gnus-imap-timeout 0.6)
           (before (length (mailsync-gnus-test--files "folder000")))
           (times (mailsync-splitting-test--slices
                    (mailsync-splitting-test--deliver-many "INBOX" 4)
                    (mailsync-splitting-test--check "INBOX"))))
      (should (= (+ before 2) (length (mailsync-gnus-test--files "folder000"))))
      (mailsync-splitting-test--right-counts)
      (should-not (mailsync-splitting-test--said))
      (should-not mailsync-gnus--split-seen)
      ;; The first ones are of an unknown pace.
      (should (<= 3 (length times) 5)))))

(ert-deftest mailsync-splitting-test-imap-many ()
  "Many messages are split in parts, those that stay do not hold up the others."
  (mailsync-splitting-test--with
    (mailsync-splitting-test--serve '(nnimap-split-methods default))
    (dotimes (_ 3)
      (mailsync-splitting-test--deliver "INBOX" "other"))
    (let* ((before (mapcar #'length
                           (mapcar #'mailsync-gnus-test--files
                                   '("folder000" "folder001"))))
           (times (mailsync-splitting-test--slices
                    (mailsync-splitting-test--deliver-many "INBOX" 300)
                    (mailsync-splitting-test--check "INBOX"))))
      (should (equal (mapcar (lambda (n) (+ n 150)) before)
                     (mapcar #'length
                             (mapcar #'mailsync-gnus-test--files
                                     '("folder000" "folder001")))))
      (mailsync-splitting-test--right-counts)
      (should-not (mailsync-splitting-test--said))
      ;; For the reader; how long is not for a test to say.
      (princ (format "300 messages: %d parts, the longest %d ms, all %d ms\n"
                     (length times) (* 1000 (car times))
                     (* 1000 (apply #'+ times)))))))

;;;; Mail sources

(defun mailsync-splitting-test--source-rule ()
  "The groups of the current message, by its subject, in a back end of mail."
  (pcase (mailsync-splitting-test--rule)
    ('nil nil)
    ((and groups (pred proper-list-p))
     (mapcar (lambda (group)
               (pcase group ("folder000" "list") ("folder001" "misc")
                      ("madebysplit" "made") (_ group)))
             groups))
    (groups groups)))

(defun mailsync-splitting-test--fancy-source-rule ()
  "The group of the current message, by its subject, in a back end of mail."
  (car (mailsync-splitting-test--source-rule)))

(defconst mailsync-splitting-test--source-rules
  '(((("list" "^Subject:.* one$") ("misc" "^Subject:.* two$") ("misc" ""))
     "one list" "two misc" "other misc")
    ((("list" "^Subject:.* one$"))
     "one list" "other list")
    (mailsync-splitting-test--source-rule
     "one list" "two misc" "other bogus" "both list misc" "junk" "new made")
    (nnmail-split-fancy
     "one list" "two misc" "other misc"
     fancy (| (: mailsync-splitting-test--fancy-source-rule) "misc"))
    (nnmail-split-fancy
     ("of a friend" "folder000" "X-Sender: ada@example.invalid") "one misc"
     fancy (| (: mailsync-splitting-test--by-sender) "misc"))
    (nnmail-split-fancy
     "one list misc" "other misc"
     fancy (& (: mailsync-splitting-test--fancy-source-rule) "misc"))
    ;; Rules that are wrong.
    (mailsync-splitting-test--source-rule
     "one list" "bad bogus" "two misc" "one list" "two misc" "one list"
     "both list misc" "two misc" "one list" "two misc" said "No rule of mine")
    (nnmail-split-fancy
     "bad bogus" "one list" "other misc" said "nnmail-split-fancy is wrong"
     fancy (| (: mailsync-splitting-test--fancy-source-rule) "misc"))
    ((("list" "^Subject:.* one$") ("misc" (lambda (_) (error "Wrong rule")))
      ("misc" ""))
     "one list" "two misc" said "Gnus ignores that rule")
    (mailsync-splitting-test--source-rule
     "asks bogus" "one list" said "mailsync-splitting-test--source-rule is wrong")
    (mailsync-splitting-test--source-rule
     "string bogus" "one list" said "cannot be \"folder000\"")
    (mailsync-splitting-test--source-rule
     "number bogus" "one list" said "cannot be (42)"))
  "Values of `nnmail-split-methods', and where they have messages go.
Each is a string: the last word of the subject, and groups.
After `fancy' comes the value of `nnmail-split-fancy', after
`said' what is said about it, once.")

(defun mailsync-splitting-test--source-counts (groups)
  "The numbers of unread messages of GROUPS, 0 for one that is not there."
  (mapcar (lambda (name)
            (or (fixture-unread (mailsync-sources-test--group name)) 0))
          groups))

(defun mailsync-splitting-test--source-row (row)
  "Deliver what ROW of `mailsync-splitting-test--source-rules' says."
  (pcase-let* ((`(,methods . ,mail) row)
               (said (cadr (memq 'said mail)))
               (nnmail-split-methods methods)
               (nnmail-split-fancy (cadr (memq 'fancy mail)))
               (mail (cl-loop for message in mail until (symbolp message)
                              collect message))
               (groups '("list" "misc" "bogus" "made" "folder000"))
               (counts (mailsync-splitting-test--source-counts groups))
               (log (length mailsync-gnus-test--log)))
    (setq mailsync-sources-test--once nil
          mailsync-gnus--last-error nil)
    (dolist (message mail)
      (pcase-let* ((`(,word ,to ,header)
                    (if (consp message) message
                      (let ((words (split-string message)))
                        (list (car words) (string-join (cdr words) " "))))))
        (dolist (group (split-string to))
          (cl-incf (nth (cl-position group groups :test #'equal) counts)))
        (apply #'mailsync-gnus-test--run "deliver.sh"
               (mailsync-sources-test--path "incoming")
               (concat "a message " word) (and header (list header)))))
    (should (eq 'checked (car (mailsync-sources-test--check "incoming" 'new))))
    (should (equal (mailsync-splitting-test--source-counts groups) counts))
    (should (= 0 (mailsync-sources-test--left "incoming")))
    (let ((new (butlast mailsync-gnus-test--log log)))
      (if (not said)
          (should (equal new nil))
        (should (= 1 (length new)))
        (should (string-match-p (regexp-quote said) (car new)))
        (should (plist-get (mailsync-gnus-status) :last-error))))))

(mailsync-sources-test--for-each mailsync-splitting-test-source-rules
    "Rules of every kind, the wrong ones too: nothing is lost, all is counted."
    (nnml nnfolder nnmaildir)
  (dolist (name '("bogus" "made" "folder000"))
    (gnus-request-create-group name (mailsync-sources-test--server))
    (gnus-subscribe-group (mailsync-sources-test--group name) nil
                          (mailsync-sources-test--server)))
  (gnus-group-get-new-news)
  (dolist (row mailsync-splitting-test--source-rules)
    (ert-info ((format "%S" row))
      (mailsync-splitting-test--source-row row))))

(ert-deftest mailsync-splitting-test-no-such-name ()
  "What nnmaildir would drop, for want of a group that it can make, is kept."
  (mailsync-sources-test--with 'nnmaildir
    (let ((bogus (mailsync-sources-test--path "store/bogus/cur"))
          (expected 0))
      (dolist (name '("a/b" ".hidden" ""))
        (dolist (methods (list `((,name "^Subject:.* one$") ("list" ""))
                               (defalias 'mailsync-splitting-test--unfit
                                 (lambda () (list name)))))
          (ert-info ((format "%S" methods))
            (setq mailsync-sources-test--once nil)
            (let ((nnmail-split-methods methods)
                  (said (length mailsync-gnus-test--log)))
              (mailsync-sources-test--deliver "incoming" "it is one")
              (should (eq 'checked (car (mailsync-sources-test--check
                                         "incoming" 'new))))
              (should (= 0 (mailsync-sources-test--left "incoming")))
              (should (= (cl-incf expected)
                         (length (directory-files bogus nil "\\`[^.]"))))
              (should (= (1+ said) (length mailsync-gnus-test--log))))))))))

(mailsync-sources-test--for-each mailsync-splitting-test-source-users
    "What the user does with the groups and in them meanwhile is respected."
    (nnml nnfolder nnmaildir)
  (let ((list (mailsync-sources-test--group "list"))
        (misc (mailsync-sources-test--group "misc"))
        (nnmail-split-methods
         (mailsync-splitting-test--default '("list" "misc") "misc"))
        (log nil))
    (cl-flet ((comes (word)
                (mailsync-sources-test--deliver "incoming" (concat "it is " word))
                (should (eq 'checked (car (mailsync-sources-test--check
                                           "incoming" 'new))))
                (should (= 0 (mailsync-sources-test--left "incoming")))))
      (comes "one")
      (comes "one")
      ;; In the middle of reading, with a mark that is not stored yet.
      (gnus-group-read-group t t list)
      (let ((summary (current-buffer)))
        (gnus-summary-goto-subject (car gnus-newsgroup-unreads))
        (gnus-summary-tick-article)
        (comes "one")
        (comes "two")
        (set-buffer summary)
        (gnus-summary-exit))
      (mailsync-gnus-check)
      (should (equal (mailsync-sources-test--counts) '(2 1))) ; and a ticked one
      (should (= 1 (length (cdr (assq 'tick (gnus-info-marks
                                             (gnus-get-info list)))))))
      ;; To respool is to move one; a rule that the user changes is obeyed.
      (setq nnmail-split-methods
            (mailsync-splitting-test--default '("misc" "list") "misc"))
      (comes "one")
      (should (equal (mailsync-sources-test--counts) '(2 2)))
      (gnus-group-read-group t t misc)
      (goto-char (point-min))
      (search-forward "it is two")
      (gnus-summary-select-article)
      (gnus-summary-respool-trace)
      (when (get-buffer "*Split Trace*") (kill-buffer "*Split Trace*"))
      (set-buffer gnus-summary-buffer)
      (gnus-summary-respool-article 1 (mailsync-sources-test--server))
      (gnus-summary-exit)
      (mailsync-gnus-check)
      (with-temp-buffer
        (call-process "grep" nil t nil "-rl" "^Subject: it is two$"
                      (mailsync-sources-test--path
                       "store"
                       ;; nnmaildir puts it back where it was.
                       (if (eq 'nnmaildir (car (mailsync-sources-test--server)))
                           "misc/cur"
                         "list")))
        (should (= 1 (count-lines (point-min) (point-max)))))
      ;; It was read.
      (should (equal (mailsync-sources-test--counts) '(2 1)))
      ;; Groups that the user does not want to see.
      (setq log mailsync-gnus-test--log)
      (setf (gnus-info-level (gnus-get-info misc)) 8)
      (comes "one")
      (should (equal "level too high"
                     (cdr (assoc misc (plist-get (mailsync-gnus-status)
                                                 :left-alone)))))
      (setf (gnus-info-level (gnus-get-info misc)) 3)
      (with-current-buffer gnus-group-buffer
        (gnus-group-list-groups 5 t)
        (gnus-group-jump-to-group misc)
        (gnus-group-kill-group)
        (comes "one")
        (gnus-group-jump-to-group misc)
        (gnus-subscribe-group misc nil (mailsync-sources-test--server)))
      (gnus-activate-group misc)
      (should (equal log mailsync-gnus-test--log)))))

(ert-deftest mailsync-splitting-test-elsewhere ()
  "A folder to which mail is split may be shown by another server, too."
  (mailsync-sources-test--with 'nnmaildir
    (let* ((links (mailsync-sources-test--path "links"))
           (other `(nnmaildir ,(concat mailsync-gnus-test--name "x")
                              (directory ,links)))
           (group (format "nnmaildir+%s:elsewhere" (nth 1 other))))
      (make-directory links)
      (make-symbolic-link (mailsync-sources-test--path "store/list")
                          (expand-file-name "elsewhere" links))
      (setq gnus-secondary-select-methods
            (append gnus-secondary-select-methods (list other)))
      (gnus-open-server other)
      (gnus-subscribe-group group nil other)
      (gnus-activate-group group 'scan nil other)
      (mailsync-sources-test--deliver "incoming" "to the list")
      (should (equal (mailsync-sources-test--check "incoming" 'new)
                     `(checked ((,(mailsync-sources-test--group "list") 0 1)))))
      ;; The move is a change of its folder.
      (let ((directory (mailsync-sources-test--path "store/list")))
        (mailsync-gnus-test--check
         (list :account "home" :folder "list" :directory directory
               :truename (file-truename directory)
               :kinds '(new) :origins '(local))))
      (should (= 1 (fixture-unread group)))
      (should (equal (mailsync-sources-test--counts) '(1 0))))))

(mailsync-sources-test--for-each mailsync-splitting-test-source-many
    "Many messages are fetched in small parts."
    (nnml nnmaildir)
  (let ((mailsync-sources-test--portion nil)
        (mailsync-gnus--fetch-pace nil)
        (times nil))
    (mailsync-sources-test--deliver-many 60)
    (cl-letf* ((fetch (symbol-function 'mailsync-gnus--fetch))
               ((symbol-function 'mailsync-gnus--fetch)
                (lambda (&rest args)
                  (let ((begun (float-time)))
                    (prog1 (apply fetch args)
                      (push (- (float-time) begun) times))))))
      (let ((box (mailsync-gnus-test--send
                  (mailsync-sources-test--change "incoming" 'new))))
        (mailsync-gnus-test--wait (car box) 30)))
    (should (equal (mailsync-sources-test--counts) '(30 30)))
    (should (= 0 (mailsync-sources-test--left "incoming")))
    (should (> (length times) 3))
    (setq times (sort times #'>))
    ;; For the reader; how long is not for a test to say.
    (princ (format "60 messages, %s: %d parts, the longest %d ms, half of them %d ms\n"
                   (car (mailsync-sources-test--server)) (length times)
                   (* 1000 (car times))
                   (* 1000 (nth (/ (length times) 2) times))))))

(provide 'mailsync-splitting-test)
;;; mailsync-splitting-test.el ends here
